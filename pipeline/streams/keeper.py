"""The duties that any worker may do: claiming from the dead, trimming, looking after the ladder."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import noted, said
from pipeline.flow import HOPS, ROUTE
from pipeline.names import LANES, Names
from pipeline.streams.engine import Engine
from pipeline.streams.link import Argument, Link, LinkError
from pipeline.streams.missing import find_missing
from pipeline.streams.scripts import CLAIM, TIDY, TRIM

log = logging.getLogger(__name__)

#: Entries claimed at once at the most.
CLAIM_BATCH: Final = 100

#: Every so many scans, consumers that never registered are looked for, too.
WIDE_EVERY: Final = 20

#: Every so many scans, the kept streams are trimmed.
TRIM_EVERY: Final = 20

#: Entries trimmed in one call of the script at the most: a bound on its time in Redis.
TRIM_SLICE: Final = 500


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept of `requests` and `done`, and of `dead`."""

    events_s: int
    dead_s: int
    max_entries: int


class Claimed(msgspec.Struct, frozen=True):
    """What came of a look at what dead workers left, and what it told beside."""

    entries: int
    #: How many requests have been cancelled; none: none ever.
    cancelled: bytes | None
    #: The configuration that was published last.
    config: bytes | None


#: Further duties, which are told what the look told beside.
Also = Callable[[Claimed], Awaitable[None]]


async def claim(engine: Engine, *, wide: bool) -> Claimed:
    """Take over and run what dead workers left pending, as far as there is room."""
    names, holdings = engine.names, engine.holdings
    args: list[Argument] = [
        names.prefix, engine.options.consumer, CLAIM_BATCH, int(wide),
        holdings.trials, holdings.suspects,
    ]  # fmt: skip
    for stream, group in engine.streams():
        args += [stream, group, holdings.room(group)]
    claimed, due, cancels, config = await engine.link.run(CLAIM, [names.prefix], args)
    for stream, entry, fields, delivery in claimed:
        engine.begin(stream.decode(), entry.decode(), fields, delivery)
    if claimed:
        log.info("Claimed entries from dead workers", extra=noted(entries=len(claimed)))
    if due:
        # The others' events, and a clock that was moved: this worker's timer knows of neither.
        engine.mover.look_in(0)
    return Claimed(len(claimed), cancels, config)


async def trim(link: Link, names: Names, limits: Limits) -> None:
    """Trim the kept streams by age and size, a slice at a time, behind every group.

    The streams between hops keep nothing that was read and acknowledged.
    """
    hops = [hop.name for hop in HOPS if hop.name != ROUTE]
    await link.run(TIDY, [names.prefix], [names.prefix, *hops])
    for key, keep_s in kept_streams(names, limits):
        oldest = f"{max(0, int((clock.now() - keep_s) * 1000))}-0"
        args: list[Argument] = [
            names.prefix, oldest, limits.max_entries, TRIM_SLICE, int(key == names.done),
        ]  # fmt: skip
        trimmed = TRIM_SLICE
        while trimmed == TRIM_SLICE:
            trimmed, _ = await link.run(TRIM, [key], args)


def kept_streams(names: Names, limits: Limits) -> list[tuple[str, int]]:
    """List the streams whose entries are kept after they were read, with seconds kept."""
    requests = [(names.requests[lane], limits.events_s) for lane in LANES]
    return [*requests, (names.done, limits.events_s), (names.dead, limits.dead_s)]


class Keeper:
    """Does its duties every `scan_s`; `also` are further ones, done at each scan."""

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        scan_s: float,
        also: Also,
    ) -> None:
        self._engine = engine
        #: May be replaced at any time.
        self.limits = limits
        self._scan_s = scan_s
        self._also = also
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="keeper")

    async def stop(self) -> None:
        """End; a duty half done is taken up by another worker's."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        scans = 0
        while True:
            with contextlib.suppress(LinkError):
                try:
                    await self._scan(scans)
                except redis.exceptions.ResponseError as error:
                    log.warning("Redis refused a scan", extra=noted(reason=said(error)))
            scans += 1
            await asyncio.sleep(self._scan_s)

    async def _scan(self, scans: int) -> None:
        wide = scans % WIDE_EVERY == 0
        while (found := await claim(self._engine, wide=wide)).entries == CLAIM_BATCH:
            pass
        await self._also(found)
        if scans % TRIM_EVERY == 0 and await self._my_turn():
            await trim(self._engine.link, self._engine.names, self.limits)
            age_s = self._scan_s * TRIM_EVERY
            await find_missing(self._engine.link, self._engine.names, age_s)

    async def _my_turn(self) -> bool:
        """Take the duty of trimming for this round, so that one worker does it."""
        ttl_ms = int(self._scan_s * (TRIM_EVERY - 1) * 1000)
        key = f"{self._engine.names.prefix}:duty:trim"
        try:
            taken = await self._engine.link.call(
                "SET", key, self._engine.options.consumer, "NX", "PX", max(1, ttl_ms)
            )
        except redis.exceptions.OutOfMemoryError:
            # Then trimming is what is needed, even if several do it.
            return True
        return taken is not None
