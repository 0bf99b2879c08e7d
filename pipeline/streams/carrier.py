"""Carries outcomes out: gathers them while a transition is under way, writes them with the next."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import about, noted, said
from pipeline.event import Event, Line
from pipeline.flow import LAST
from pipeline.names import Names
from pipeline.outcome import Climb, Forward, Outcome
from pipeline.passage import Observer, Passage
from pipeline.streams import carriage
from pipeline.streams.batch import split
from pipeline.streams.carriage import Kept
from pipeline.streams.holdings import Holdings, Running
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.scripts import TRANSITION

log = logging.getLogger(__name__)

#: Outcomes in one call of the script at the most: a bound on its time in Redis.
MAX_BATCH: Final = 128

#: So many outcomes that wait are carried out beside a batch that is under way.
CROWD: Final = 64

#: Pause before an outcome that Redis refused to write is tried again, in seconds.
REFUSED_S: Final = 1.0

#: The stream of the ended, and the group by which workers deliver callbacks from it.
DONE, CALLBACK = "done", "callback"


class Landed(msgspec.Struct, frozen=True):
    """A hop's end that waits to be carried out."""

    run: Running
    outcome: Outcome


class Carrier:
    """The one writer of a process's transitions.

    `take` is given what a transition brought along, in XREADGROUP's form.
    """

    def __init__(
        self, link: Link, names: Names, consumer: str, kept: Kept, holdings: Holdings
    ) -> None:
        self._link = link
        self._names = names
        self._consumer = consumer
        self.keep(kept)
        self._holdings = holdings
        self._landed: list[Landed] = []
        self._wake = asyncio.Event()
        self._crowd = asyncio.Event()
        #: Is told of each rung that an event climbs to, in seconds.
        self.on_climb: Callable[[float], object] | None = None
        #: Is told of each event of which others have taken over what became of it.
        self.on_refused: Callable[[Event], object] | None = None
        #: How many transitions were refused, by hop.
        self.refused: Counter[str] = Counter()
        #: Are told of each passage.
        self.observers: list[Observer] = []
        #: While draining, nothing but the last hop's entries is taken along.
        self.draining = False

    def keep(self, kept: Kept) -> None:
        """Let what ends from now on be kept for so long."""
        self._kept = kept
        self._head: list[Argument] = [
            self._names.prefix, self._consumer, f"{kept.replies_s} {kept.repeats_s}",
        ]  # fmt: skip

    def land(self, run: Running, outcome: Outcome) -> None:
        """Hand over a hop's outcome."""
        run.task = None
        self._landed.append(Landed(run, outcome))
        self._wake.set()
        if len(self._landed) >= CROWD:
            self._crowd.set()

    async def write(self, take: Callable[[Reply], int]) -> None:
        """Carry outcomes out, for ever: in one batch after the other, or two when it is crowded.

        One batch at a time lets outcomes gather; but then we wait while Redis works and Redis
        while we do, and under full load a second batch under way keeps both busy.
        """
        async with asyncio.TaskGroup() as writers:
            writers.create_task(self._write(self._wake, take), name="carrier")
            writers.create_task(self._write(self._crowd, take), name="carrier")

    async def _write(self, due: asyncio.Event, take: Callable[[Reply], int]) -> None:
        while True:
            await due.wait()
            batch, self._landed = split(self._landed, MAX_BATCH, _size)
            if not self._landed:
                self._wake.clear()
            if len(self._landed) < CROWD:
                self._crowd.clear()
            if batch:
                await self._carry(batch, take)

    async def _carry(self, batch: list[Landed], take: Callable[[Reply], int]) -> None:
        try:
            take(await self._transition(batch))
        except redis.exceptions.ResponseError as error:
            told = noted(outcomes=len(batch), reason=said(error))
            log.warning("Redis refused a batch; its outcomes go one by one", extra=told)
            for landed in batch:
                take(await self._transition_alone(landed))

    async def take_ranked(self, room: int) -> Reply:
        """Take new requests, high before default before low, one slot in twenty left to each."""
        reserves = [_share(room), _share(room)]
        _, taken, _ = await self._link.run(
            TRANSITION, [self._names.prefix], [*self._head, 0, 0, room, *reserves]
        )
        return taken

    async def _transition(self, batch: list[Landed]) -> Reply:
        args: list[Argument] = [*self._head, len(batch)]
        end = clock.now()
        left: list[Event] = []
        for landed in batch:
            source, outcome, line = landed.run.source, landed.outcome, _line(landed, end)
            left.append(carriage.left(source, outcome, line))
            args += carriage.arguments(source, outcome, left[-1], line, self._kept)
        args += self._takes(batch)
        refused, taken, repeated = await self._ask(args)
        for landed in batch:
            self._holdings.release(landed.run)
            if isinstance(landed.outcome, Climb) and self.on_climb:
                self.on_climb(landed.outcome.rung)
        for index in refused:
            self._refuse(batch[index - 1].run)
        if self.observers:
            self._tell(batch, left, {*refused, *repeated})
        return taken

    def _refuse(self, run: Running) -> None:
        log.warning("Transition was refused", extra=about(run.event, run.source.group))
        self.refused[run.source.group] += 1
        if self.on_refused:
            self.on_refused(run.event)

    def _tell(self, batch: list[Landed], left: list[Event], void: set[int]) -> None:
        """Tell the observers of a batch, but for the places whose outcome was void."""
        for place, (landed, event) in enumerate(zip(batch, left, strict=True), 1):
            if place not in void:
                passage = Passage(landed.run.event, event, landed.outcome)
                for observe in self.observers:
                    observe(passage)

    async def _transition_alone(self, landed: Landed) -> Reply:
        try:
            return await self._transition([landed])
        except redis.exceptions.ResponseError as error:
            told = about(landed.run.event, landed.run.source.group, reason=said(error))
            log.error("Redis refused an outcome", extra=told)
            # Redis may refuse every write for a time: its disk is full, it has become a replica.
            again = asyncio.get_running_loop().call_later
            again(REFUSED_S, self.land, landed.run, landed.outcome)
            return []

    async def _ask(self, args: list[Argument]) -> tuple[list[int], Reply, list[int]]:
        while True:
            try:
                found = await self._link.run(TRANSITION, [self._names.prefix], args)
            except LinkError:
                # Safe to ask again: what was done before the reply was lost is refused by the
                # fence, and what it took is found when pending entries are adopted.
                await self._link.up()
            else:
                refused, taken, repeated = found
                return refused, taken, repeated

    def _takes(self, batch: list[Landed]) -> list[Argument]:
        """Ask for entries of the hops just forwarded to, and of `done`, in the same step."""
        wanted = {landed.outcome.to for landed in batch if isinstance(landed.outcome, Forward)}
        if self.draining:
            wanted &= {LAST}
        args: list[Argument] = [len(wanted) + 1, DONE, CALLBACK, MAX_BATCH]
        for hop in wanted:
            args += [hop, hop, min(self._holdings.room(hop), MAX_BATCH)]
        return [*args, 0, 0, 0]


def _share(room: int) -> int:
    """Draw a lane's part of so many slots, whole and on average one in twenty."""
    return int(room / 20 + clock.chance.random())


def _size(landed: Landed) -> int:
    return len(landed.outcome.response) if isinstance(landed.outcome, Forward) else 0


def _line(landed: Landed, end: float) -> Line:
    event = landed.run.event
    return Line(
        hop=landed.run.source.group,
        start=landed.run.start,
        end=end,
        delivery=event.delivery,
        entry=landed.run.source.entry if event.trace else "",
        facts=landed.outcome.facts,
    )
