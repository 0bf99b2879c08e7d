"""Waits with an end: a condition is asked again and again until it holds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.01


def eventually(condition: Callable[[], T], timeout_s: float = 30.0, what: str = "") -> T:
    """Give the condition's first true value; fail with `what` and its last value otherwise."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        _check(deadline, timeout_s, what, value)
        time.sleep(_POLL_S)
    return value


async def eventually_async(
    condition: Callable[[], Awaitable[T]], timeout_s: float = 30.0, what: str = ""
) -> T:
    """Do the same for a condition to be awaited."""
    deadline = time.monotonic() + timeout_s
    while not (value := await condition()):
        _check(deadline, timeout_s, what, value)
        await asyncio.sleep(_POLL_S)
    return value


def _check(deadline: float, timeout_s: float, what: str, value: object) -> None:
    if time.monotonic() > deadline:
        raise AssertionError(
            f"not within {timeout_s} s: {what or 'the condition'}; last: {value!r}"
        )
