"""The mover: brings events that fell due on the ladder back to the gate, in every worker.

Nothing is held in a worker but the time at which to look next. Who made an event climb knows that
time; the others learn it with their scans, which cost nothing more while no rung is in use.
"""

import asyncio
import contextlib
import logging
from typing import Final

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import noted, said
from pipeline.names import Names
from pipeline.streams.link import Argument, Link, LinkError
from pipeline.streams.scripts import MOVE

log = logging.getLogger(__name__)

#: Events moved at once at the most. They travel through the hops together, and who comes new
#: meets them there: with 100,000 due at once others' p99 grew by 3 ms with 8, by 5 with 16, at the
#: same 3,000 a second; with 256 that stood at the gate it grew by 525.
SLICE: Final = 8

#: No more than so many are to stand at the gate when the mover has moved some.
MOST_AT_GATE: Final = 64

#: But so many are moved in any case: a gate that is always full must not starve the ladder.
LEAST: Final = 4

#: While more is due, the mover rests so many times as long as its last slice took. That grows with
#: all that this worker and Redis have to do beside.
REST: Final = 2

#: But no longer than this, in seconds.
MOST_REST_S: Final = 0.05

#: Pause after Redis refused to move, in seconds.
REFUSED_S: Final = 1.0

#: Events fall due within this, in seconds, after the time that was told: Redis tells whole
#: milliseconds, and its clock and ours do not tick alike.
_LATE_S: Final = 0.002


class Moved(msgspec.Struct, frozen=True):
    """What one look at the rungs came to."""

    events: int
    #: Seconds until the next event falls due; none: no rung is in use.
    due_s: float | None
    at_gate: int


class Mover:
    """One worker's part in moving; any number of them may move at once."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        #: When to look next, on the monotonic clock.
        self._next = float("inf")
        self._sooner = asyncio.Event()
        #: Events moved since something fell due.
        self._moved = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to move."""
        self._task = asyncio.create_task(self._run(), name="mover")

    async def stop(self) -> None:
        """Move no more: others do."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look_in(self, seconds: float) -> None:
        """Look at the rungs after so long at the latest."""
        at = clock.monotonic() + seconds + _LATE_S
        if at < self._next:
            self._next = at
            self._sooner.set()

    async def move(
        self, rungs: tuple[int, ...] = (), *, most: int = SLICE, at_gate: int = MOST_AT_GATE
    ) -> Moved:
        """Move what is due, `most` at once; looks at `rungs` though nothing is noted of them.

        Raises `LinkError`.
        """
        args: list[Argument] = [self._names.prefix, most, at_gate, min(LEAST, most), *rungs]
        moved, due_ms, standing = await self._link.run(MOVE, [self._names.rungs], args)
        return Moved(moved, due_ms / 1000 if due_ms >= 0 else None, standing)

    async def _run(self) -> None:
        while True:
            await self._until_due()
            try:
                await self._move_due()
            except LinkError:
                await self._link.up()
                self.look_in(0)
            except redis.exceptions.ResponseError as error:
                told = noted(reason=said(error))
                log.warning("Redis refused to move events from the ladder", extra=told)
                self.look_in(REFUSED_S)

    async def _until_due(self) -> None:
        while (left_s := self._next - clock.monotonic()) > 0:
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s if left_s < float("inf") else None):
                    await self._sooner.wait()

    async def _move_due(self) -> None:
        began, self._next = self._next, float("inf")
        moved = await self.move()
        took_s = clock.monotonic() - began
        self._moved += moved.events
        if moved.due_s == 0:
            self.look_in(min(MOST_REST_S, REST * took_s))
            return
        if self._moved:
            log.info("Moved events from the ladder to the gate", extra=noted(events=self._moved))
            self._moved = 0
        if moved.due_s is not None:
            self.look_in(moved.due_s)
