"""The seed of chaos: SLUICE_TEST_SEED, or one that is always the same."""

import os

import pytest

from tests.crash.chaos.journey import journeys

__all__ = ["journeys"]


@pytest.fixture
def seed() -> int:
    """Give the seed of a test, which its report tells."""
    return int(os.environ.get("SLUICE_TEST_SEED", "1"))
