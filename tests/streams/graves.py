"""Dead letters for the tests, made as the flow makes them: by a transition that ends an event."""

from collections.abc import Sequence

import msgspec

from pipeline import event as events
from pipeline.errors import Cause, Failure
from pipeline.event import Event
from pipeline.outcome import Die
from pipeline.streams.carriage import Source
from pipeline.streams.dead.letter import Letter, LetterFilter
from pipeline.streams.dead.letters import Letters
from pipeline.streams.ingress import Ingress
from pipeline.streams.intake import Malformed, read
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.rig import NAMES, Client

DEAD_S = 300
ALL = LetterFilter()


def letters_of(link: Link) -> Letters:
    return Letters(link, NAMES, dead_s=DEAD_S)


def large_body(text: str = "x") -> bytes:
    """Make a body that does not travel."""
    content = text * (events.INLINE_BYTES + 1)
    return msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": content}]})


async def bury(
    link: Link, client: Client, *dying: Event, cause: Cause = "overloaded", body: bytes = b""
) -> list[Letter]:
    """Accept requests, let each die at the call, and give their letters."""
    ingress = Ingress(link, NAMES)
    async with rig.desk(link, client) as desk:
        ends = []
        for event in dying:
            await ingress.accept(event, body or rig.BODY)
            run = desk.read(f"requests:{event.lane}")
            failure = Failure(message=f"The {cause} of {event.id}", status=503, cause=cause)
            ends.append((run, Die(_tried(run.event, event), failure)))
        await desk.carry(*ends)
    found = {
        letter.id: letter for letter in (await letters_of(link).scan(ALL, limit=10_000)).letters
    }
    return [found[event.id] for event in dying]


def _tried(event: Event, wanted: Event) -> Event:
    """Give an event the marks of its way, which accepting leaves out."""
    return msgspec.structs.replace(
        event,
        deltas=wanted.deltas,
        attempts=3,
        leg=wanted.leg,
        climbed=(60, 600),
        plan=(),
        tried=("sim/m",),
        journal=wanted.journal,
    )


async def bury_malformed(link: Link, client: Client, payload: bytes) -> Letter:
    """Write what is no request to a lane, and give its letter."""
    client.xadd(NAMES.requests["default"], {"event": payload})
    rig.make_group(client, "requests:default", "route")
    async with rig.desk(link, client) as desk:
        [(_, [(entry, fields)])] = client.xreadgroup(
            "route", desk.consumer, {NAMES.requests["default"]: ">"}, count=1
        )
        flat = [part for pair in fields.items() for part in pair]
        try:
            read(flat, lane="default", entry=entry.decode())
        except Malformed as malformed:
            source = Source("requests:default", "route", entry.decode())
            run = desk.holdings.hold(source, malformed.event)
            await desk.carry((run, Die(malformed.event, malformed.failure)))
            letter = await letters_of(link).find(malformed.event.id)
            assert letter
            return letter
    raise AssertionError("it is a request after all")


def lane_events(client: Client, lane: str = "default") -> list[tuple[str, Event]]:
    """List the entries of a lane, each as `lane:entry id` with its event."""
    rows = client.xrange(NAMES.hop(f"requests:{lane}"))
    return [(f"{lane}:{at.decode()}", events.decode(fields[b"event"])) for at, fields in rows]


def last_lane_event(client: Client, lane: str = "default") -> tuple[str, Event]:
    return lane_events(client, lane)[-1]


def record(client: Client, request_id: str) -> dict[str, str]:
    """Read a record as text."""
    stored = client.hgetall(NAMES.record(request_id))
    return {name.decode(): value.decode(errors="replace") for name, value in stored.items()}


def entries(found: Sequence[Letter]) -> list[str]:
    return [letter.entry for letter in found]
