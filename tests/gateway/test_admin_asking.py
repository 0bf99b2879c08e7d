"""How much one request of an operator does: at a rate, and for a bounded time."""

import pytest

from gateway.admin_asking import BUDGET_S, Course
from pipeline import clock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("rate", "size"), [(None, 50), (1000, 50), (200, 20), (1, 1), (0.2, 1)])
async def test_a_batch_is_as_large_as_the_rate_allows(rate: float | None, size: int) -> None:
    assert Course(rate, 50).size == size


async def test_the_rate_is_kept(anyio_backend: str) -> None:
    course, began = Course(100, 50), clock.monotonic()
    for done in (0, 10, 20):
        assert await course.turn(done)
    assert 0.2 <= clock.monotonic() - began < 2


async def test_what_has_no_rate_waits_for_nothing() -> None:
    course, began = Course(None, 50), clock.monotonic()
    assert await course.turn(10**9)
    assert clock.monotonic() - began < 1


async def test_what_does_not_fit_into_the_time_is_left_to_the_next_request() -> None:
    course, began = Course(0.2, 50), clock.monotonic()
    assert await course.turn(0)
    assert not await course.turn(int(0.2 * BUDGET_S))
    assert clock.monotonic() - began < 1
