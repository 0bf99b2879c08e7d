"""What the tests of the flow's means share: events, links, and a carrier to hand outcomes to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec
import redis
from hypothesis import HealthCheck, settings

from pipeline import event as events
from pipeline.event import Event
from pipeline.names import Names
from pipeline.outcome import Outcome
from pipeline.streams.carriage import Kept, Source
from pipeline.streams.carrier import Carrier
from pipeline.streams.engine import Engine, EngineOptions, Hop
from pipeline.streams.holdings import Holdings, Running
from pipeline.streams.link import Link, Reply
from tests.waiting import eventually_async

NAMES: Final = Names("t")
KEPT: Final = Kept(replies_s=100, events_s=200, dead_s=300)
#: A redis-py client; its own types are unions of every form that a reply may take.
Client = Any

BODY: Final = b'{"model":"m","messages":[]}'


def law(examples: int) -> settings:
    """Let Hypothesis share one Redis between examples; each has to empty it first."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def make_event(request_id: str = "r1", **changes: object) -> Event:
    """Make a request as the gateway would accept it."""
    event = Event(id=request_id, model="m", body=msgspec.Raw(BODY), body_bytes=27, created=1.0)
    return msgspec.structs.replace(event, **changes)


def connect(url: str) -> Client:
    """Make a client to look with, and to do what others do; close it."""
    return redis.Redis.from_url(url, protocol=2)


@asynccontextmanager
async def linked(url: str, name: str = "test") -> AsyncIterator[Link]:
    """Open a link."""
    link = Link(url, name=name)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


async def until(condition: Callable[[], object], what: str = "", timeout_s: float = 30) -> None:
    """Let the loop go on until a condition holds."""

    async def ask() -> object:
        return condition()

    await eventually_async(ask, timeout_s, what)


def last_event(client: Client, stream: str) -> Event:
    """Read the event of a stream's last entry; the stream is named without prefix."""
    [(_, fields)] = client.xrevrange(NAMES.hop(stream), count=1)
    return events.decode(fields[b"event"])


def ids(client: Client, stream: str) -> list[str]:
    """List the request ids of a stream's events, oldest first."""
    rows = client.xrange(NAMES.hop(stream))
    return [events.decode(fields[b"event"]).id for _, fields in rows]


def counter(client: Client, name: str) -> int:
    """Read one of the counters that `status` shows."""
    return int(client.hget(NAMES.counters, name) or 0)


class Desk:
    """A carrier under test, with the entries that were delivered to its consumer."""

    def __init__(self, link: Link, client: Client, consumer: str = "me", kept: Kept = KEPT) -> None:
        self.client = client
        self.consumer = consumer
        self.holdings = Holdings(1000)
        self.carrier = Carrier(link, NAMES, consumer, kept, self.holdings)
        self.taken: list[Reply] = []

    def deliver(self, stream: str, event: Event) -> Running:
        """Write an event to a stream and have it delivered to the desk's consumer."""
        self.client.xadd(NAMES.hop(stream), {"event": events.encode(event)})
        return self.read(stream)

    def read(self, stream: str) -> Running:
        """Have the next entry of a stream delivered."""
        group = "route" if stream.startswith("requests:") else stream
        make_group(self.client, stream, group)
        [(_, [(entry, fields)])] = self.client.xreadgroup(
            group, self.consumer, {NAMES.hop(stream): ">"}, count=1
        )
        source = Source(stream, group, entry.decode())
        return self.holdings.hold(source, events.decode(fields[b"event"]))

    async def carry(self, *ends: tuple[Running, Outcome]) -> None:
        """Hand over outcomes in one turn and wait until they are written, or refused."""
        for run, outcome in ends:
            self.carrier.land(run, outcome)

        def settled() -> bool:
            return not any(self.holdings.get(r.source.stream, r.source.entry) for r, _ in ends)

        await until(settled, "the outcomes are settled")

    def take(self, reply: Reply) -> int:
        """Keep what a transition brought along."""
        self.taken += reply
        return len(reply)


def make_group(client: Client, stream: str, group: str) -> None:
    """Make a stream's group unless it is there."""
    with suppress(redis.ResponseError):
        client.xgroup_create(NAMES.hop(stream), group, "0", mkstream=True)


@asynccontextmanager
async def desk(
    link: Link, client: Client, consumer: str = "me", kept: Kept = KEPT
) -> AsyncIterator[Desk]:
    """Run a carrier."""
    here = Desk(link, client, consumer, kept)
    writing = asyncio.create_task(here.carrier.write(here.take))
    try:
        yield here
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


class Crew:
    """An engine under test."""

    def __init__(self, url: str, link: Link, hops: Mapping[str, Hop], **options: object) -> None:
        self.called_back: list[Event] = []
        base = EngineOptions(url=url, consumer="me", kept=KEPT, default_model="m")
        self.engine = Engine(
            msgspec.structs.replace(base, **options), NAMES, link, hops, self._call_back
        )

    async def _call_back(self, event: Event) -> None:
        self.called_back.append(event)


@asynccontextmanager
async def crew(url: str, hops: Mapping[str, Hop], **options: object) -> AsyncIterator[Crew]:
    """Run an engine; what is still under way at the end is left."""
    async with linked(url) as link:
        here = Crew(url, link, hops, **options)
        await here.engine.start()
        try:
            yield here
        finally:
            await here.engine.drain(0)
