"""Admission: who may call which deployment now, over all workers; the others wait.

Here a deployment's concurrency and the rotation of its keys are decided; further limits come in
by the same door. Events that ask in one turn of the loop are answered by one call of the script.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import msgspec
import redis.exceptions

from pipeline import event as events
from pipeline.event import Candidate, Event, Lease
from pipeline.names import Names
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.scripts import WAKE, Script, load

log = logging.getLogger(__name__)

ADMISSION: Final = load("pipeline.limits", "admission")

#: A lease that nobody renews runs out after this; so long a dead worker's capacity is lost.
LEASE_S: Final = 60.0

#: Leases of calls under way are renewed so often.
RENEW_S: Final = 20.0

#: Events admitted in one call of the script at the most: a bound on its time in Redis.
MAX_BATCH: Final = 128


#: Pause before what Redis refused is asked again, in seconds.
REFUSED_S: Final = 1.0

#: Later than the generation of any call.
_ANY_GENERATION: Final = 2**53

#: Stands in the hash of parked events for one that was woken before it was parked.
_WOKEN: Final = b"woken"


class Refusal(msgspec.Struct, frozen=True):
    """No candidate has capacity now; the event has a ticket in the waiting room."""


class _Question(msgspec.Struct):
    arguments: list[Argument]
    answer: asyncio.Future[str]


def ticket_of(event: Event) -> str:
    """Name the ticket of an event: one for each leg."""
    return f"{event.leg}.{event.id}"


def candidates(event: Event) -> tuple[Candidate, ...]:
    """List the candidates that have not failed in this leg."""
    return tuple(c for c in event.plan if c.deployment not in event.tried)


class Admission:
    """The gate's judge; one for each worker process."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._keys = [names.limits, names.clock]
        self._questions: list[_Question] = []
        self._task: asyncio.Task[None] | None = None
        #: Tickets that are being given back: renewing one now would bring it back to life.
        self._leaving: set[str] = set()

    async def admit(self, event: Event) -> Lease | Refusal:
        """Take a lease on the first candidate that has capacity, or a ticket to wait with.

        Asking again for the same event and leg gives the same lease. Whoever waits is woken by
        coming back to the gate, where it finds the lease it was given.
        """
        plan = candidates(event)
        first = plan[0]
        if not first.concurrency and first.keys == 1:
            return Lease(deployment=first.deployment)
        arguments: list[Argument] = [
            ticket_of(event), int(event.deadline * 1000), _room(plan), len(plan),
        ]  # fmt: skip
        for candidate in plan:
            arguments += [candidate.deployment, candidate.concurrency, candidate.keys]
        held = await self._ask(arguments)
        return _lease(held) if held else Refusal()

    async def settle(self, event: Event) -> None:
        """Give back the lease of an event's call, once, and wake whoever it lets in.

        The late end of a call that was run again gives nothing back.
        """
        if event.lease and _is_counted(event):
            await self._give_back(event, event.generation)

    async def leave(self, event: Event) -> None:
        """Give back whatever an event holds before its call: a lease it was woken with."""
        if any(candidate.concurrency for candidate in event.plan):
            await self._give_back(event, _ANY_GENERATION)

    async def _give_back(self, event: Event, generation: int) -> None:
        ticket = ticket_of(event)
        self._leaving.add(ticket)
        try:
            _, woken = await self._run("settle", [ticket, generation])
            await self._wake(woken)
        finally:
            self._leaving.discard(ticket)

    async def resume(self, event: Event) -> bool:
        """Take up the lease of a call that is run again; tells whether it was still there.

        Where it is not, others may have been let in for it, and the event has to ask anew.
        """
        if not (event.lease and _is_counted(event)):
            return True
        held = f"{event.lease.key} {event.lease.deployment}"
        arguments: list[Argument] = [ticket_of(event), held, event.next_generation]
        answers, _ = await self._run("resume", arguments)
        return bool(answers[0])

    async def renew(self, events: Iterable[Event]) -> None:
        """Keep the leases of calls under way."""
        arguments: list[Argument] = []
        for event in events:
            leaving = ticket_of(event) in self._leaving
            if event.lease and _is_counted(event) and not leaving:
                held = f"{event.lease.key} {event.lease.deployment}"
                arguments += [ticket_of(event), held, event.next_generation]
        if arguments:
            await self._run("renew", arguments)

    async def sweep(self) -> None:
        """Let in whom leases that ran out make room for, and wake whose deadline has passed."""
        if await self._link.call("EXISTS", f"{self._names.limits}:rooms"):
            _, woken = await self._run("settle", [])
            await self._wake(woken)

    async def mend(self) -> None:
        """Wake events that are parked and have no ticket: their wake-up was lost with a worker.

        Marks of wake-ups for which nobody came are removed; whoever should still come and park
        is woken by the next mending.
        """
        cursor: Reply = b""
        while cursor != b"0":
            cursor, flat = await self._link.call(
                "HSCAN", self._names.parked, cursor or b"0", "COUNT", 200
            )
            parked = dict(zip(flat[::2], flat[1::2], strict=True))
            marks = [name for name, event in parked.items() if event == _WOKEN]
            if marks:
                await self._link.call("HDEL", self._names.parked, *marks)
            await self._wake(await self._ticketless([e for e in parked.values() if e != _WOKEN]))

    async def _ticketless(self, parked: list[bytes]) -> list[bytes]:
        if not parked:
            return []
        tickets = [ticket_of(events.decode(payload)) for payload in parked]
        rooms = await self._link.call("HMGET", f"{self._names.limits}:where", *tickets)
        return [t.encode() for t, room in zip(tickets, rooms, strict=True) if room is None]

    async def _ask(self, arguments: list[Argument]) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._questions.append(_Question(arguments, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._answer(), name="admission")
        return await answer

    async def _answer(self) -> None:
        try:
            while self._questions:
                batch = self._questions[:MAX_BATCH]
                self._questions = self._questions[MAX_BATCH:]
                arguments = [argument for question in batch for argument in question.arguments]
                answers, woken = await self._run("admit", arguments)
                _tell(batch, answers)
                await self._wake(woken)
        finally:
            self._task = None

    async def _wake(self, tickets: list[bytes]) -> None:
        if not tickets:
            return
        ids = [ticket.decode().partition(".")[2] for ticket in tickets]
        # Waking twice does no harm: an event that has left is only marked.
        await self._insist(WAKE, [self._names.parked], [self._names.prefix, *ids])

    async def _run(self, verb: str, arguments: list[Argument]) -> Reply:
        # All verbs may be said twice.
        return await self._insist(ADMISSION, self._keys, [int(LEASE_S * 1000), verb, *arguments])

    async def _insist(self, script: Script, keys: list[str], arguments: list[Argument]) -> Reply:
        """Run a script until it has run: whoever asks can neither go on nor end without that."""
        while True:
            try:
                return await self._link.run(script, keys, arguments)
            except LinkError:
                await self._link.up()
            except redis.exceptions.ResponseError as error:
                # Redis may refuse every write for a time: its disk is full, it became a replica.
                log.warning("Admission was refused by Redis: %s", error)
                await asyncio.sleep(REFUSED_S)


def _room(plan: tuple[Candidate, ...]) -> str:
    """Name the room of a set of candidates: in each, all wait for the same deployments."""
    return " ".join(candidate.deployment for candidate in plan)


def _tell(batch: list[_Question], answers: list[bytes]) -> None:
    for question, held in zip(batch, answers, strict=True):
        if not question.answer.done():
            question.answer.set_result(held.decode())


def _lease(held: str) -> Lease:
    key, _, deployment = held.partition(" ")
    return Lease(deployment=deployment, key=int(key))


def _is_counted(event: Event) -> bool:
    assert event.lease is not None
    return any(c.concurrency for c in event.plan if c.deployment == event.lease.deployment)
