"""Asking Redis once more after the connection was lost, and no longer than a person waits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pipeline.errors import RedisUnavailable
from pipeline.streams.link import Link, LinkError

#: How long to wait for a lost connection to come back, in seconds.
PATIENCE_S: Final = 2.0

T = TypeVar("T")


async def patiently(link: Link, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask what may be asked twice. Raises `RedisUnavailable`."""
    try:
        return await ask()
    except LinkError:
        try:
            await asyncio.wait_for(link.up(), PATIENCE_S)
            return await ask()
        except (LinkError, TimeoutError):
            raise RedisUnavailable("Redis does not answer; try again") from None
