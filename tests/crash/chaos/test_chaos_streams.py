"""Journeys in which somebody else destroys consumer groups and trims streams of ours."""

import pytest

from tests.crash.chaos.journey import Journeys

pytestmark = pytest.mark.crash


def test_destroyed_groups_lose_nothing(journeys: Journeys) -> None:
    journeys.make(["destroy_group"] * 6)


def test_of_trimmed_streams_everybody_is_told(journeys: Journeys) -> None:
    report = journeys.make(["trim_hop"] * 6 + ["kill_worker"])
    # Who was destroyed outright is found by the request streams, and has left a dead letter.
    assert report.failed.get("request_lost", 0) == int(report.counters.get("missing", 0))


def test_a_trimmed_end_of_the_flow_loses_no_answer(journeys: Journeys) -> None:
    journeys.make(["trim_done"] * 3)
