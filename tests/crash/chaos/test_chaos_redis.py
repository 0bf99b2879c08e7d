"""Journeys in which Redis is killed at any moment; with `everysec` that loses nothing, too."""

import pytest

from tests.crash.chaos.journey import Journeys

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_restarts_of_redis_lose_nothing(journeys: Journeys, appendfsync: str) -> None:
    journeys.make(["restart_redis"] * 3, appendfsync=appendfsync)
