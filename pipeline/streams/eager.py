"""Runs the first step of a coroutine at once, and the rest, if there is any, in a task.

A hop that only decides never waits, and a task costs as much as such a hop itself. (Python 3.12
has eager tasks; this serves 3.11, too.)
"""

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


def begin(coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Run a coroutine up to where it first waits, and give what is to be awaited for the rest.

    Raises `StopIteration` with its value when it has ended already, or what it raised. What runs
    before the first wait has no current task, so it must not use `asyncio.timeout`.
    """
    return _rest(coroutine, coroutine.send(None))


@types.coroutine
def _steps(coroutine: Coroutine[Any, Any, T], first: Any) -> Generator[Any, Any, T]:
    waited_for = first
    try:
        while True:
            try:
                sent = yield waited_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to the coroutine
                waited_for = coroutine.throw(error)
            else:
                waited_for = coroutine.send(sent)
    except StopIteration as ended:
        value: T = ended.value
        return value


async def _rest(coroutine: Coroutine[Any, Any, T], first: Any) -> T:
    return await _steps(coroutine, first)
