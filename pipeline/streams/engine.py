"""Runs the hops of one worker process on one event loop: from entries to outcomes.

Hops that only decide run to their end the moment they are read, without a task of their own;
hops that call a provider run as tasks, `calls` of them at once. The carrier writes what comes
of them, and brings along the entries that its transitions made.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec
import redis.exceptions

from pipeline import tracing
from pipeline.about import about
from pipeline.errors import Cancelled, Failure
from pipeline.event import Event
from pipeline.flow import BY_NAME, LAST, ROUTE
from pipeline.names import LANES, Lane, Names
from pipeline.outcome import Die, Outcome
from pipeline.passage import Observer
from pipeline.streams import intake
from pipeline.streams.carriage import Kept, Source
from pipeline.streams.carrier import CALLBACK, DONE, Carrier
from pipeline.streams.eager import begin
from pipeline.streams.holdings import Holdings, Running
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.missing import LOST, leg_of
from pipeline.streams.mover import Mover
from pipeline.streams.reader import GroupReader, Reading
from pipeline.streams.scripts import ADOPT, REGROUP
from pipeline.tracing import NEVER, Sampler

log = logging.getLogger(__name__)

#: Entries taken up again in one call of the script.
ADOPT_BATCH: Final = 100

Hop = Callable[[Event], Coroutine[Any, Any, Outcome]]

_CANCELLED: Final = Cancelled("The request was cancelled before it was answered.").failure()

LANE_STREAMS: Final[Mapping[str, Lane]] = {f"requests:{lane}": lane for lane in LANES}


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine needs to know of the configuration."""

    url: str
    consumer: str
    kept: Kept
    calls: int = 1000
    max_deliveries: int = 5
    default_model: str = ""
    #: Decides about the requests of programs; those that came by HTTP were decided about there.
    sampler: Sampler = NEVER


class Engine:
    """The hops of one process, over one partition.

    `hops` maps each hop's name to its function; `call_back` delivers what ended to whoever asked
    to be called back.
    """

    def __init__(
        self,
        options: EngineOptions,
        names: Names,
        link: Link,
        hops: Mapping[str, Hop],
        call_back: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.options = options
        self.names = names
        self.link = link
        self._hops = hops
        self._call_back = call_back
        self.holdings = Holdings(options.calls)
        self._carrier = Carrier(link, names, options.consumer, options.kept, self.holdings)
        self.mover = Mover(link, names)
        self._carrier.on_climb = self.mover.look_in
        self._readers: dict[str, GroupReader] = {}
        self._adopting = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        #: Is told of events that end without their hop: it cannot give back what they hold.
        self.on_given_up: Callable[[Event], object] | None = None

    def observe(self, observer: Observer) -> None:
        """Have an observer told of each passage."""
        self._carrier.observers.append(observer)

    @property
    def refused(self) -> Mapping[str, int]:
        """How many transitions were refused so far, by hop."""
        return self._carrier.refused

    def on_refused(self, note: Callable[[Event], object]) -> None:
        """Have each event noted for which this process came too late."""
        self._carrier.on_refused = note

    def go_by(self, hops: Mapping[str, Hop], kept: Kept, default_model: str) -> None:
        """Run what is read from now on by another configuration."""
        self._hops = hops
        self.options = msgspec.structs.replace(self.options, kept=kept, default_model=default_model)
        self._carrier.keep(kept)

    async def start(self) -> None:
        """Make the groups, connect and begin to read. Raises `LinkError`."""
        await self.make_groups()
        self._writer = asyncio.create_task(self._carrier.write(self.take), name="carrier")
        groups: dict[str, list[str]] = {}
        for stream, group in self.streams():
            groups.setdefault(group, []).append(self.names.hop(stream))
        for group, keys in groups.items():
            self._readers[group] = GroupReader(self.options.url, self._reading(group, keys))
        for reader in self._readers.values():
            await reader.start()
        self.mover.start()

    async def stop_reading(self) -> None:
        """Take no new work; what is under way goes on up to its end."""
        self._carrier.draining = True
        await self.mover.stop()
        for group, reader in self._readers.items():
            if group in BY_NAME and group != LAST:
                await reader.stop()

    async def drain(self, grace_s: float) -> int:
        """Wait for what is under way; after `grace_s` leave it to others. Tells how many."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self.holdings:
                    await self.holdings.change()
        left = len(self.holdings)
        for reader in self._readers.values():
            await reader.stop()
        tasks = [*self.holdings.tasks(), *([self._writer] if self._writer else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return left

    def streams(self) -> list[tuple[str, str]]:
        """List what this engine reads: streams without their prefix, and groups."""
        hops = [(hop, hop) for hop in self._hops if hop != ROUTE]
        return [*((stream, ROUTE) for stream in LANE_STREAMS), *hops, (DONE, CALLBACK)]

    async def make_groups(self) -> None:
        """Make the streams and groups that are not there, from the first entry on."""
        args: list[Argument] = [self.names.prefix]
        for stream, group in self.streams():
            args += [stream, group, int(group in BY_NAME and BY_NAME[group].long)]
        with contextlib.suppress(redis.exceptions.ResponseError):
            await self.link.run(REGROUP, [self.names.prefix], args)

    def _reading(self, group: str, keys: list[str]) -> Reading:
        return Reading(
            group=group,
            consumer=self.options.consumer,
            streams=keys,
            room=lambda: self.holdings.room(group),
            wait_for_room=self.holdings.change,
            take=self.take,
            recover=self.adopt,
            make_groups=self.make_groups,
            take_ranked=self._take_ranked if group == ROUTE else None,
        )

    async def _take_ranked(self, room: int) -> int:
        return self.take(await self._carrier.take_ranked(room))

    def take(self, reply: Reply) -> int:
        """Begin the hops of the entries in a reply in XREADGROUP's form; tells how many."""
        taken = 0
        skip = len(self.names.prefix) + 1
        for stream, entries in reply:
            source = stream.decode()[skip:]
            if source == DONE:
                entries = self._acknowledge_quiet(entries)  # noqa: PLW2901 - the rest of them
            for entry, fields in entries:
                self.begin(source, entry.decode(), fields, 1)
                taken += 1
        return taken

    def begin(self, stream: str, entry: str, fields: list[bytes], delivery: int) -> None:
        """Run the hop of an entry, unless this process holds it already."""
        if self.holdings.get(stream, entry):
            return
        lane = LANE_STREAMS.get(stream)
        group = ROUTE if lane else CALLBACK if stream == DONE else stream
        source = Source(stream, group, entry)
        try:
            event = intake.read(
                fields, lane=lane, entry=entry, default_model=self.options.default_model
            )
        except intake.Malformed as malformed:
            event = tracing.decided(malformed.event, self.options.sampler)
            self._carrier.land(self.holdings.hold(source, event), Die(event, malformed.failure))
            return
        if event.undecided:
            event = tracing.decided(event, self.options.sampler)
        if delivery > 1:
            event = msgspec.structs.replace(event, delivery=event.delivery + delivery - 1)
        run = self.holdings.hold(source, event)
        if stream == DONE:
            run.task = asyncio.create_task(self._run_callback(run))
        elif event.cancelled:
            self._give_up(run, Die(event, _CANCELLED))
        elif lane and (leg := leg_of(fields)):
            # What it holds, it holds in that leg.
            run.event = msgspec.structs.replace(event, leg=leg)
            self._give_up(run, Die(run.event, LOST))
        elif delivery > self.options.max_deliveries:
            self._give_up(run, Die(event, _poison(delivery - 1)))
        else:
            self._begin_hop(run)

    def _begin_hop(self, run: Running) -> None:
        coroutine = self._hops[run.source.group](run.event)
        if BY_NAME[run.source.group].long:
            run.task = asyncio.create_task(self._run(run, coroutine))
            return
        try:
            rest = begin(coroutine)
        except StopIteration as ended:
            self._carrier.land(run, ended.value)
        except Exception as error:  # noqa: BLE001 - the one place: a hop's bug must not end the engine
            self._park(run, error)
        else:
            run.task = asyncio.create_task(self._run(run, rest))

    async def _run(self, run: Running, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        try:
            self._carrier.land(run, await coroutine)
        except Exception as error:  # noqa: BLE001 - as above
            self._park(run, error)

    def _park(self, run: Running, error: Exception) -> None:
        """Dead-letter what a hop could not cope with: a bug of ours, kept to be looked at."""
        log.error("Hop failed", exc_info=error, extra=about(run.event, run.source.group))
        failure = Failure(
            message=f"Sluice failed on this request: {type(error).__name__} in {run.source.group}",
            code="internal_error",
            cause="bug",
        )
        self._give_up(run, Die(run.event, failure, {"error": type(error).__name__}))

    def _give_up(self, run: Running, death: Die) -> None:
        if self.on_given_up:
            self.on_given_up(run.event)
        self._carrier.land(run, death)

    def _acknowledge_quiet(self, entries: list[Reply]) -> list[Reply]:
        """Be done with what ended without a callback, which is nearly all; give the rest."""
        loud = [row for row in entries if _is_awaited(row[1][1])]
        if len(loud) < len(entries):
            heard = {entry for entry, _ in loud}
            quiet = [entry for entry, _ in entries if entry not in heard]
            self._acknowledge(DONE, CALLBACK, quiet)
        return loud

    async def _run_callback(self, run: Running) -> None:
        if run.event.reply_to or run.event.shadow:
            try:
                await self._call_back(run.event)
            except Exception:
                log.exception("Callback failed", extra=about(run.event, CALLBACK))
        self._acknowledge(run.source.stream, run.source.group, [run.source.entry])
        self.holdings.release(run)

    def _acknowledge(self, stream: str, group: str, entries: Sequence[bytes | str]) -> None:
        acked = self.link.call("XACK", self.names.hop(stream), group, *entries)
        # A lost acknowledgement leaves the entry pending; it is found again, and is quick.
        acked.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def adopt(self) -> None:
        """Make what Redis holds as ours and what we hold agree, after a connection was lost.

        What was delivered in a reply that never came is run; what others have claimed in the
        meantime is given up.
        """
        await self.link.up()
        # One at a time: each adoption counts as a delivery.
        async with self._adopting:
            with contextlib.suppress(LinkError):
                await self._adopt_all()

    async def _adopt_all(self) -> None:
        for stream, group in self.streams():
            with contextlib.suppress(redis.exceptions.ResponseError):
                await self._adopt(stream, group)

    async def _adopt(self, stream: str, group: str) -> None:
        key = self.names.hop(stream)
        held = self.holdings.of(stream)
        pending: set[str] = set()
        start, more = "-", True
        while more:
            page = await self.link.call(
                "XPENDING", key, group, start, "+", 500, self.options.consumer
            )
            pending |= {row[0].decode() for row in page}
            more = len(page) == 500
            start = f"({page[-1][0].decode()}" if more else ""
        for entry in held - pending:
            run = self.holdings.get(stream, entry)
            if run and run.task:
                run.task.cancel()
                self.holdings.release(run)
                if self._carrier.on_refused:
                    self._carrier.on_refused(run.event)
        lost = sorted(pending - held)
        for at in range(0, len(lost), ADOPT_BATCH):
            args: list[Argument] = [self.names.prefix, self.options.consumer, stream, group]
            some = [
                entry for entry in lost[at : at + ADOPT_BATCH] if not self._holds(stream, entry)
            ]
            for entry, fields, delivery in await self.link.run(ADOPT, [key], [*args, *some]):
                self.begin(stream, entry.decode(), fields, delivery)

    def _holds(self, stream: str, entry: str) -> bool:
        """Tell whether an entry is run, though it may not have been when we asked for it."""
        return self.holdings.get(stream, entry) is not None


def _is_awaited(payload: bytes) -> bool:
    """Tell by an ended event's JSON whether its result may have to be written to a stream."""
    return b'"reply_to":' in payload or b'"shadow":true' in payload


def _poison(deliveries: int) -> Failure:
    return Failure(
        message=f"The request was given up: {deliveries} workers died or hung while they held it",
        code="poison_event",
        cause="poison",
    )
