"""Journeys in which connections to Redis and to the provider break at any moment."""

import pytest

from tests.crash.chaos.journey import Journeys

pytestmark = pytest.mark.crash


def test_cut_connections_to_redis_lose_nothing(journeys: Journeys) -> None:
    journeys.make(["cut_redis"] * 8 + ["stall_redis"])


def test_cut_connections_to_the_provider_lose_nothing(journeys: Journeys) -> None:
    report = journeys.make(["cut_provider"] * 4)
    assert report.repeated == {}
