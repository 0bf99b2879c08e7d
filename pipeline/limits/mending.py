"""Mending: what waits is found again when the limits' part of Redis, or a worker, was lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pipeline import clock
from pipeline.event import decode
from pipeline.limits.caps import caps_key
from pipeline.limits.runner import Runner
from pipeline.limits.tickets import ticket_of
from pipeline.streams.link import LinkError, Reply

#: Waiting events that are looked at in one go for their tickets.
MEND_COUNT: Final = 500

#: A mark that an event was woken is of no use after this; whoever was to park has done so.
_MARK_S: Final = 60.0


class Mending:
    """One worker's part in it; `publish` makes the limits known anew."""

    def __init__(self, runner: Runner, publish: Callable[[], Awaitable[object]]) -> None:
        self._runner = runner
        self._link = runner.link
        self._names = runner.names
        self._publish = publish
        #: How far the waiting events have been looked through.
        self._mended: Reply = b"0"

    async def mend(self) -> None:
        """Wake events that are parked and have no ticket: the limits' part of Redis was lost."""
        parked, marks = await asyncio.gather(
            self._link.call("HLEN", self._names.parked), self._link.call("HLEN", self._names.woken)
        )
        if marks:
            await self._drop_marks()
        if not parked:
            return
        await self.publish_lost()
        some_are_missing = parked > await self._link.call("HLEN", f"{self._names.limits}:tickets")
        if some_are_missing:
            self._mended = b"0"
        while True:
            # Else a part is enough: the tickets of calls may hide that one is missing.
            self._mended, flat = await self._link.call(
                "HSCAN", self._names.parked, self._mended, "COUNT", MEND_COUNT
            )
            await self._runner.wake(await self._ticketless(flat[1::2]))
            if not some_are_missing or self._mended == b"0":
                return

    async def publish_lost(self) -> None:
        """Make the limits known if Redis has lost them."""
        while True:
            try:
                there = await self._link.call("EXISTS", caps_key(self._names))
            except LinkError:
                await self._link.up()
            else:
                break
        if not there:
            await self._publish()

    async def _drop_marks(self) -> None:
        flat = await self._link.call("HGETALL", self._names.woken)
        old = clock.now() - _MARK_S
        marks = [name for name, at in zip(flat[::2], flat[1::2], strict=True) if float(at) < old]
        if marks:
            await self._link.call("HDEL", self._names.woken, *marks)

    async def _ticketless(self, parked: list[bytes]) -> list[bytes]:
        if not parked:
            return []
        tickets = [ticket_of(decode(payload)) for payload in parked]
        found = await self._link.call("HMGET", f"{self._names.limits}:tickets", *tickets)
        return [t.encode() for t, ticket in zip(tickets, found, strict=True) if ticket is None]
