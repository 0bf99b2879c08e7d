"""Journeys in which Redis stands still, or takes no more in, at any moment."""

import pytest

from tests.crash.chaos.journey import Journeys

pytestmark = pytest.mark.crash


def test_a_frozen_redis_loses_and_doubles_nothing(journeys: Journeys) -> None:
    report = journeys.make(["freeze_redis", "freeze_redis"])
    # All signs of life lapse together then; nobody may take that for the others' death.
    assert report.repeated == {}


@pytest.mark.slow
def test_a_redis_frozen_for_ten_seconds_loses_nothing(journeys: Journeys) -> None:
    journeys.make(["freeze_redis_long"])


def test_a_redis_out_of_memory_loses_nothing_that_was_accepted(journeys: Journeys) -> None:
    report = journeys.make(["fill_memory", "fill_memory"])
    assert report.repeated == {}
