"""The process's clock follows Redis's, and stays where it cannot be told to be wrong."""

import time
from collections.abc import Iterator

import pytest

from pipeline import clock


@pytest.fixture(autouse=True)
def own_time() -> Iterator[None]:
    """Leave the clock as it was."""
    clock.follow(time.time())
    yield
    clock.follow(time.time())


def off_s() -> float:
    return clock.now() - time.time()


def test_an_answer_that_came_late_moves_no_clock_that_was_right() -> None:
    before = off_s()
    # Redis told its time half a second ago, and this process was busy since then.
    clock.follow(time.time() - 0.5, time.time() - 0.6)
    assert off_s() == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_a_clock_that_is_wrong_is_set(ahead_s: float) -> None:
    clock.follow(time.time() + ahead_s, time.time() - 0.01)
    assert off_s() == pytest.approx(ahead_s, abs=0.02)
