"""Reads the streams of one consumer group, never more than there is room for.

XREADGROUP knows one group, so each group has a connection of its own on which it blocks.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import redis.exceptions

from pipeline.about import noted, said
from pipeline.streams.link import Link, LinkError, Reply

log = logging.getLogger(__name__)

#: How long one read blocks, and so how often an idle worker asks Redis for work.
BLOCK_S: Final = 5.0

#: Pause after Redis refused to be read from, in seconds: it may go on refusing.
REFUSED_S: Final = 0.1


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader reads, and whom it serves."""

    group: str
    consumer: str
    #: Redis keys of the streams.
    streams: Sequence[str]
    #: How many entries may be taken now.
    room: Callable[[], int]
    #: Waits until there may be room again.
    wait_for_room: Callable[[], Awaitable[None]]
    #: Takes in what was read.
    take: Callable[[Reply], int]
    #: Called when the connection was lost and is back: a reply may have been lost with it.
    recover: Callable[[], Awaitable[None]]
    #: Makes streams and groups that have vanished.
    make_groups: Callable[[], Awaitable[None]]
    #: Takes entries by rank while room is scarce; tells how many it took.
    take_ranked: Callable[[int], Awaitable[int]] | None = None


#: With fewer free slots than this, streams are read by rank rather than side by side.
SCARCE: Final = 64


class GroupReader:
    """One blocking connection and the loop on it."""

    def __init__(self, url: str, reading: Reading) -> None:
        self._reading = reading
        self._link = Link(
            url, name=f"sluice-{reading.group}-{reading.consumer}", timeout_s=2.5 * BLOCK_S
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and begin to read. Raises `LinkError`."""
        await self._link.open()
        self._task = asyncio.create_task(self._run(), name=f"read {self._reading.group}")

    async def stop(self) -> None:
        """Read no more. An entry whose reply is lost by this stays pending."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._link.close()

    async def _run(self) -> None:
        reading = self._reading
        while True:
            room = reading.room()
            if room < 1:
                await reading.wait_for_room()
                continue
            try:
                if room < SCARCE and reading.take_ranked and await reading.take_ranked(room):
                    continue
                reading.take(await self._read(max(1, room // len(reading.streams))) or [])
            except LinkError:
                await self._link.up()
                await reading.recover()
            except redis.exceptions.ResponseError as error:
                # NOGROUP and its like: the stream was deleted or Redis was emptied under us.
                told = noted(hop=reading.group, reason=said(error))
                log.warning("Streams had to be made anew", extra=told)
                with contextlib.suppress(LinkError):
                    await reading.make_groups()
                    # What this process runs may be others' now.
                    await reading.recover()
                await asyncio.sleep(REFUSED_S)

    def _read(self, count: int) -> asyncio.Future[Reply]:
        reading = self._reading
        return self._link.call(
            "XREADGROUP", "GROUP", reading.group, reading.consumer,
            "COUNT", count, "BLOCK", int(BLOCK_S * 1000),
            "STREAMS", *reading.streams, *(">" for _ in reading.streams),
        )  # fmt: skip
