"""The first step of a coroutine runs at once; the rest behaves as a coroutine does."""

import asyncio
from typing import Any

import pytest

from pipeline.streams.eager import begin

pytestmark = pytest.mark.anyio


async def decide(value: int) -> int:
    return value


async def test_a_coroutine_that_never_waits_has_ended_at_once() -> None:
    with pytest.raises(StopIteration) as ended:
        _ = begin(decide(7))
    assert ended.value.value == 7


async def test_what_it_raises_at_once_is_raised_at_once() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        _ = begin(fail())


async def test_the_rest_waits_and_gives_the_value() -> None:
    steps: list[int] = []

    async def wait() -> str:
        steps.append(1)
        await asyncio.sleep(0)
        steps.append(2)
        return await asyncio.wait_for(asyncio.sleep(0.001, "late"), 1)

    rest = begin(wait())
    assert steps == [1]
    assert await asyncio.create_task(rest) == "late"


async def test_what_it_waits_for_may_fail_inside_it() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        try:
            await future
        except ValueError:
            await asyncio.sleep(0)
            return "caught"
        return "nothing came"

    rest = begin(wait())
    future.set_exception(ValueError("x"))
    assert await rest == "caught"


async def test_cancelling_reaches_it() -> None:
    seen: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("left")

    task = asyncio.create_task(begin(wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["left"]


async def test_a_rest_that_is_dropped_closes_the_coroutine() -> None:
    seen: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("left")

    rest: Any = begin(wait())
    rest.send(None)
    rest.close()
    assert seen == ["left"]
