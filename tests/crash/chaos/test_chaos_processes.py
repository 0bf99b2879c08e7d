"""Journeys in which workers and gateways are killed and stopped at any moment."""

import pytest

from tests.crash.chaos.journey import Journeys

pytestmark = pytest.mark.crash


def test_killed_workers_and_gateways_lose_nothing(journeys: Journeys) -> None:
    journeys.make(["kill_worker", "kill_worker", "kill_gateway", "kill_all_workers"])


def test_workers_that_stood_still_and_go_on_double_nothing(journeys: Journeys) -> None:
    journeys.make(["stop_worker", "stop_worker"])
