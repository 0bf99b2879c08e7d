"""Admission: who may call which deployment now, over all workers; the others wait.

The scripts decide (`admission.lua`); here events that ask, and calls that end, in one turn of the
loop are put into one call of them.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import noted, said
from pipeline.catalog import Catalog
from pipeline.errors import ModelNotFound
from pipeline.event import Event
from pipeline.limits.caps import VERSION, own_limits, published
from pipeline.limits.fingerprint import fingerprints
from pipeline.limits.mending import Mending
from pipeline.limits.moving import move
from pipeline.limits.plans import Plans, Room
from pipeline.limits.runner import PUBLISH, REGISTER, Runner
from pipeline.limits.tickets import (
    Look,
    Packed,
    Settlement,
    Verdict,
    candidates,
    question,
    settlement,
    ticket_of,
    verdict,
)
from pipeline.names import Names
from pipeline.settings.load import Settings
from pipeline.streams.duty import is_my_turn
from pipeline.streams.eager import begin
from pipeline.streams.link import Argument, Link

log = logging.getLogger(__name__)

#: Leases of calls under way are renewed so often; the scripts let them run out after 60 s.
RENEW_S: Final = 20.0

#: Events in one call of the script at the most, and what it may cost Redis in µs, as measured
#: and on the safe side (`candidates.lua` bounds what a call does beside that).
MAX_BATCH: Final = 64
MOST_US: Final = 1000
#: Ends settled in one call: each may let somebody in, who has to be found.
SETTLE_BATCH: Final = 16
#: An event, each limit of ours, a candidate that is new to the call, and one that is not.
_EVENT_US, _LIMIT_US, _FETCH_US, _KNOWN_US = 15.0, 8.0, 6.0, 0.5

#: Plans are made known again after so long: Redis forgets those that nobody uses for a day.
REGISTERED_S: Final = 3600.0

_pack: Final = msgspec.msgpack.Encoder().encode

_LEFT: Final = Settlement(ending="failed", was_sent=False)
#: Later than the generation of any call.
_ANY_GENERATION: Final = 2**53


class _Asked(msgspec.Struct):
    """A question, packed, and who waits for its answer."""

    packed: bytes
    #: How many limits of ours it may meet.
    limits: int
    room: Room
    answer: asyncio.Future[Verdict]

    def cost_us(self, *, is_new: bool) -> float:
        """Estimate what it costs Redis; new is who asks first of a room."""
        each_us = _FETCH_US if is_new else _KNOWN_US
        return _EVENT_US + _LIMIT_US * self.limits + self.room.size * each_us


class Admission:
    """The gate's judge; one for each worker process."""

    def __init__(self, link: Link, names: Names, settings: Settings, catalog: Catalog) -> None:
        self._link = link
        self._names = names
        self._runner = Runner(link, names)
        self._mending = Mending(self._runner, self.publish)
        self._settings = settings
        self._catalog = catalog
        self._plans = Plans(settings, catalog)
        self._plans_before = self._plans
        self._registered: dict[str, float] = {}
        self._asked: list[_Asked] = []
        self._settled: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[None]] = set()
        #: Tickets that are being given back: renewing one now would bring it back to life.
        self._leaving: set[str] = set()

    def replace(self, settings: Settings, catalog: Catalog) -> None:
        """Go by another configuration from now on."""
        self._settings, self._catalog = settings, catalog
        self._plans_before, self._plans = self._plans, Plans(settings, catalog)

    async def move(self) -> int:
        """Wake who waits in a room of the configuration before; tells how many."""
        return await move(self._runner, self._has_moved)

    async def publish(self) -> int:
        """Make the limits of this configuration those that hold; tells how many changed."""
        fields = published(self._settings, self._catalog)
        prints = fingerprints(self._settings, self._catalog)
        fields[VERSION] = _pack(prints)
        arguments: list[Argument] = [part for pair in fields.items() for part in pair]
        changed: int = await self._runner.write(PUBLISH, arguments)
        return changed

    async def admit(self, event: Event) -> Verdict:
        """Take a lease on a candidate, or a place to wait at, or be refused.

        Asking again for the same event and leg gives the same lease or place. Whoever waits is
        woken by coming back to the gate, where it finds the lease it was given. Raises
        `ModelNotFound` when a candidate is no longer in the configuration.
        """
        asked, room = self._question(event)
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        limits = len(own_limits(event)) if event.tenant in self._settings.tenants else 0
        self._asked.append(_Asked(_pack(asked), limits, room, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="admit")
        return await answer

    def settle(self, event: Event, end: Settlement) -> asyncio.Future[None]:
        """Settle an event's call, once; await it where the event is to ask again.

        The late end of a call that was run again settles nothing.
        """
        return self._give_back(ticket_of(event), event.generation, end)

    def leave(self, event: Event) -> asyncio.Future[None]:
        """Give back whatever an event holds before its call: its place, or a lease."""
        return self._give_back(ticket_of(event), _ANY_GENERATION, _LEFT)

    async def settled(self) -> None:
        """Wait until all that was settled is in Redis."""
        await self._runner.stop()
        self._send_settled()
        while self._settling:
            await asyncio.wait(self._settling)

    async def resume(self, event: Event) -> bool:
        """Take up the lease of a call that is run again; tells whether it was still there.

        Where it is not, others may have been let in for it, and the event has to ask anew.
        """
        item = _pack([ticket_of(event), event.next_generation])
        answers = await self._runner.run("resume", [item])
        return bool(msgspec.msgpack.decode(answers[0]))

    async def renew(self, events: Iterable[Event]) -> None:
        """Keep the leases of calls under way."""
        items: list[Argument] = []
        for event in events:
            if event.lease and ticket_of(event) not in self._leaving:
                asked, room = self._question(self._as_far_as_known(event))
                await self._make_known(room)
                lease = event.lease
                items.append(_pack([asked, lease.deployment, lease.key, event.next_generation]))
        for start in range(0, len(items), MAX_BATCH):
            await self._runner.run("renew", items[start : start + MAX_BATCH])

    async def revive(self, keys: Iterable[str]) -> None:
        """Let keys be used again that their provider refused."""
        await self._runner.run("revive", [*keys])

    async def looked(self, looks: Iterable[Look]) -> None:
        """Tell what looks at providers have shown of their deployments."""
        items: list[Argument] = [_pack(look.packed()) for look in looks]
        for start in range(0, len(items), MAX_BATCH):
            await self._runner.run("look", items[start : start + MAX_BATCH])

    async def sweep(self, turn_s: float = 0.0) -> None:
        """Let in whom leases that ran out make room for, and wake whose deadline has passed.

        All of that happens by itself as long as the worker lives that promised to look. One
        sweep in `turn_s` is enough for all workers.
        """
        limits = self._names.limits
        # Who is held by one of our limits alone is in no room, and due although nobody looks.
        waiting = [f"{limits}:{one}" for one in ("rooms", "due", "due:deadlines", "due:leases")]
        duty = f"{limits}:duty:sweep"
        if await self._link.call("EXISTS", *waiting) and await is_my_turn(self._link, duty, turn_s):
            await self._runner.run("sweep", [])

    async def mend(self) -> None:
        """Wake events that are parked and have no ticket: the limits' part of Redis was lost."""
        await self._mending.mend()

    def _question(self, event: Event) -> tuple[Packed, Room]:
        room = self._plans.room(candidates(event), event.also)
        tenant = self._settings.tenants.get(event.tenant)
        model = self._settings.models.get(event.model)
        asked = question(
            event,
            room,
            weight=tenant.weight if tenant else 1,
            is_known=tenant is not None,
            refuses=model is not None and model.on_limit == "refuse",
        )
        return asked, room

    def _has_moved(self, event: Event) -> bool:
        asked = candidates(event)
        try:
            also = event.also
            before = self._plans_before.room(asked, also)
            return self._plans.room(asked, also).name != before.name
        except ModelNotFound:
            return True

    def _as_far_as_known(self, event: Event) -> Event:
        """Leave out of an event's plans what is no longer in the configuration."""
        try:
            self._plans.room(candidates(event), event.also)
        except ModelNotFound:
            plan = tuple(one for one in event.plan if self._is_known(one.deployment))
            return msgspec.structs.replace(event, plan=plan, also=())
        return event

    def _is_known(self, deployment: str) -> bool:
        try:
            self._catalog.deployment(deployment)
        except ModelNotFound:
            return False
        return True

    async def _ask(self) -> None:
        try:
            while self._asked:
                await self._answer(self._batch())
        finally:
            self._asking = None

    async def _answer(self, batch: list[_Asked]) -> None:
        try:
            answers = await self._runner.run("admit", [asked.packed for asked in batch])
        except redis.exceptions.ResponseError as error:
            for asked in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        for asked, packed in zip(batch, answers, strict=True):
            found = verdict(packed)
            if found is None:
                await self._mending.publish_lost()
                for room in (asked.room, *asked.room.companions):
                    self._registered.pop(room.name, None)
                await self._make_known(asked.room)
                self._asked.append(asked)
            elif not asked.answer.done():
                asked.answer.set_result(found)

    def _batch(self) -> list[_Asked]:
        rooms: set[str] = set()
        us, number = 0.0, 0
        for asked in self._asked[:MAX_BATCH]:
            us += asked.cost_us(is_new=asked.room.name not in rooms)
            if number and us > MOST_US:
                break
            rooms.add(asked.room.name)
            number += 1
        batch, self._asked = self._asked[:number], self._asked[number:]
        return batch

    async def _make_known(self, room: Room) -> None:
        known = self._registered.get(room.name)
        if known is not None and clock.monotonic() - known < REGISTERED_S:
            return
        for companion in room.companions:
            await self._make_known(companion)
        arguments: list[Argument] = [room.name, room.packed, *room.upstreams]
        await self._runner.write(REGISTER, arguments)
        self._registered[room.name] = clock.monotonic()

    def _give_back(self, ticket: str, generation: int, end: Settlement) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving.add(ticket)
        if not self._settled:
            asyncio.get_running_loop().call_soon(self._send_settled)
        self._settled.append((ticket, _pack(settlement(ticket, generation, end)), done))
        return done

    def _send_settled(self) -> None:
        """Send what was settled in this turn of the loop, before the transitions that follow.

        A worker that dies in between leaves an event without a lease, which is claimed and asks
        anew; never a lease without an event, which would be missed until it runs out.
        """
        settled, self._settled = self._settled, []
        for start in range(0, len(settled), SETTLE_BATCH):
            rest = begin(self._settle_batch(settled[start : start + SETTLE_BATCH]))
            task = asyncio.create_task(rest, name="settle")
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle_batch(self, batch: list[tuple[str, bytes, asyncio.Future[None]]]) -> None:
        try:
            await self._runner.run("settle", [item for _, item, _ in batch])
        except redis.exceptions.ResponseError as error:
            # The leases run out by themselves.
            log.error("Redis refused settlements", extra=noted(reason=said(error)))
        self._leaving.difference_update(ticket for ticket, _, _ in batch)
        for _, _, done in batch:
            if not done.done():
                done.set_result(None)
