"""Admission: who may call which deployment now, over all workers; the others wait.

The scripts decide (`admission.lua`); here events that ask in one turn of the loop are put into
one call of them, those that are woken are brought back to the gate, and the timers run by which
nobody has to poll.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Final

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.event import Event, decode
from pipeline.limits.caps import VERSION, caps_key, own_limits, published
from pipeline.limits.fingerprint import fingerprints
from pipeline.limits.plans import Plans, Room
from pipeline.limits.tickets import (
    Packed,
    Settlement,
    Verdict,
    candidates,
    id_of,
    question,
    settlement,
    ticket_of,
    verdict,
)
from pipeline.names import Names
from pipeline.settings.load import Settings
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.scripts import WAKE, Script, load

log = logging.getLogger(__name__)

PARTS: Final = ("ground", "meters", "leases", "room", "door", "settlement")
ADMISSION: Final = load("pipeline.limits", *PARTS, "admission")
REGISTER: Final = load("pipeline.limits", "register")
PUBLISH: Final = load("pipeline.limits", "publish")

#: Leases of calls under way are renewed so often; the scripts let them run out after 60 s.
RENEW_S: Final = 20.0

#: Events in one call of the script at the most, and what it may cost Redis in µs, as measured
#: and on the safe side (`leases.lua` bounds what a call does beside that).
MAX_BATCH: Final = 64
MOST_US: Final = 1400
#: An event, each limit of ours, a candidate that is new to the call, and one that is not.
_EVENT_US, _LIMIT_US, _FETCH_US, _KNOWN_US = 15.0, 8.0, 6.0, 0.5

#: Pause before what Redis refused is asked again, in seconds.
REFUSED_S: Final = 1.0

#: Plans are made known again after so long: Redis forgets those that nobody uses for a day.
REGISTERED_S: Final = 3600.0

#: Waiting events that are looked at in one go for their tickets.
MEND_COUNT: Final = 500

#: A mark that an event was woken is of no use after this; whoever was to park has done so.
_MARK_S: Final = 60.0

_pack: Final = msgspec.msgpack.Encoder().encode

_LEFT: Final = Settlement(ending="failed", was_sent=False)
#: Later than the generation of any call.
_ANY_GENERATION: Final = 2**53

#: What Redis says of a script that stumbles over its own bug: asking again would not help.
_BUG: Final = re.compile(r"attempt to|bad argument|too many results")


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
        self._keys = [names.limits, names.clock]
        self._settings = settings
        self._catalog = catalog
        self._plans = Plans(settings, catalog)
        self._registered: dict[str, float] = {}
        self._asked: list[_Asked] = []
        self._settled: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        #: How far the waiting events have been looked through.
        self._mended: Reply = b"0"
        #: Tickets that are being given back: renewing one now would bring it back to life.
        self._leaving: set[str] = set()

    async def publish(self) -> int:
        """Make the limits of this configuration those that hold; tells how many changed."""
        fields = published(self._settings, self._catalog)
        prints = fingerprints(self._settings, self._catalog)
        fields[VERSION] = _pack(prints)
        arguments: list[Argument] = [part for pair in fields.items() for part in pair]
        changed: int = await self._insist(PUBLISH, self._keys[:1], arguments)
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
        if self._alarm:
            self._alarm.cancel()
        while self._settling:
            await asyncio.wait([self._settling])

    async def resume(self, event: Event) -> bool:
        """Take up the lease of a call that is run again; tells whether it was still there.

        Where it is not, others may have been let in for it, and the event has to ask anew.
        """
        item = _pack([ticket_of(event), event.next_generation])
        answers = await self._run("resume", [item])
        return bool(msgspec.msgpack.decode(answers[0]))

    async def renew(self, events: Iterable[Event]) -> None:
        """Keep the leases of calls under way."""
        items: list[Argument] = []
        for event in events:
            if event.lease and ticket_of(event) not in self._leaving:
                asked, room = self._question(event)
                await self._make_known(room)
                lease = event.lease
                items.append(_pack([asked, lease.deployment, lease.key, event.next_generation]))
        for start in range(0, len(items), MAX_BATCH):
            await self._run("renew", items[start : start + MAX_BATCH])

    async def revive(self, keys: Iterable[str]) -> None:
        """Let keys be used again that their provider refused."""
        await self._run("revive", [*keys])

    async def sweep(self) -> None:
        """Let in whom leases that ran out make room for, and wake whose deadline has passed.

        All of that happens by itself as long as the worker lives that promised to look.
        """
        limits = self._names.limits
        # Who is held by one of our limits alone is in no room, and due although nobody looks.
        waiting = [f"{limits}:{one}" for one in ("rooms", "due", "due:deadlines", "due:leases")]
        if await self._link.call("EXISTS", *waiting):
            await self._run("sweep", [])

    async def mend(self) -> None:
        """Wake events that are parked and have no ticket: the limits' part of Redis was lost."""
        parked, marks = await asyncio.gather(
            self._link.call("HLEN", self._names.parked), self._link.call("HLEN", self._names.woken)
        )
        if marks:
            await self._drop_marks()
        if not parked:
            return
        await self._publish_lost()
        some_are_missing = parked > await self._link.call("HLEN", f"{self._names.limits}:tickets")
        if some_are_missing:
            self._mended = b"0"
        while True:
            # Else a part is enough: the tickets of calls may hide that one is missing.
            self._mended, flat = await self._link.call(
                "HSCAN", self._names.parked, self._mended, "COUNT", MEND_COUNT
            )
            await self._wake(await self._ticketless(flat[1::2]))
            if not some_are_missing or self._mended == b"0":
                return

    async def _publish_lost(self) -> None:
        if not await self._link.call("EXISTS", caps_key(self._names)):
            await self.publish()

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

    def _question(self, event: Event) -> tuple[Packed, Room]:
        room = self._plans.room(candidates(event))
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

    async def _ask(self) -> None:
        try:
            while self._asked:
                await self._answer(self._batch())
        finally:
            self._asking = None

    async def _answer(self, batch: list[_Asked]) -> None:
        try:
            answers = await self._run("admit", [asked.packed for asked in batch])
        except redis.exceptions.ResponseError as error:
            for asked in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        for asked, packed in zip(batch, answers, strict=True):
            found = verdict(packed)
            if found is None:
                await self._publish_lost()
                self._registered.pop(asked.room.name, None)
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
        arguments: list[Argument] = [room.name, room.packed, *room.upstreams]
        await self._insist(REGISTER, self._keys[:1], arguments)
        self._registered[room.name] = clock.monotonic()

    def _give_back(self, ticket: str, generation: int, end: Settlement) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving.add(ticket)
        self._settled.append((ticket, _pack(settlement(ticket, generation, end)), done))
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle(), name="settle")
        return done

    async def _settle(self) -> None:
        try:
            while self._settled:
                batch, self._settled = self._settled[:MAX_BATCH], self._settled[MAX_BATCH:]
                await self._settle_batch(batch)
        finally:
            self._settling = None

    async def _settle_batch(self, batch: list[tuple[str, bytes, asyncio.Future[None]]]) -> None:
        try:
            await self._run("settle", [item for _, item, _ in batch])
        except redis.exceptions.ResponseError as error:
            # The leases run out by themselves.
            log.error("Settling failed: %s", error)
        self._leaving.difference_update(ticket for ticket, _, _ in batch)
        for _, _, done in batch:
            if not done.done():
                done.set_result(None)

    async def _run(self, verb: str, items: list[Argument]) -> list[bytes]:
        # All verbs may be said twice.
        answers, woken, look_in = await self._insist(ADMISSION, self._keys, [verb, *items])
        if look_in >= 0:
            self._look_in(look_in / 1000)
        await self._wake(woken)
        found: list[bytes] = answers
        return found

    def _look_in(self, seconds: float) -> None:
        """Look again after so long: this worker has promised it, and no other one will."""
        # A new promise is for the first of all that is due: it stands for the one before as well.
        if self._alarm:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._look, seconds)

    def _look(self, promised_s: float) -> None:
        self._looking = asyncio.create_task(self._run_alarm(promised_s), name="alarm")

    async def _run_alarm(self, promised_s: float) -> None:
        await self._run("alarm", [f"{promised_s * 1000:.0f}"])

    async def _wake(self, tickets: list[bytes]) -> None:
        if not tickets:
            return
        ids = [id_of(ticket.decode()) for ticket in tickets]
        # Waking twice does no harm: an event that has left is only marked.
        arguments: list[Argument] = [self._names.prefix, f"{clock.now():.3f}", *ids]
        await self._insist(WAKE, [self._names.parked], arguments)

    async def _insist(self, script: Script, keys: list[str], arguments: list[Argument]) -> Reply:
        """Run a script until it has run: whoever asks can neither go on nor end without that."""
        while True:
            try:
                return await self._link.run(script, keys, arguments)
            except LinkError:
                await self._link.up()
            except redis.exceptions.ResponseError as error:
                if _BUG.search(str(error)):
                    raise
                # Redis may refuse every write for a time: its disk is full, it became a replica.
                log.warning("Admission was refused by Redis: %s", error)
                await asyncio.sleep(REFUSED_S)
