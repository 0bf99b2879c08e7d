"""`sluice status`: how streams, the ladder, workers, gateways and limits stand at this moment."""

from collections.abc import Iterator
from typing import Final

import msgspec
import redis

from pipeline.catalog import Catalog
from pipeline.cli import living, looking
from pipeline.cli.entries import Entry, read_hash, read_range
from pipeline.cli.place import Place
from pipeline.flow import HOPS, ROUTE
from pipeline.limits.report import LimitsReport
from pipeline.names import EVENT_FIELD
from pipeline.streams.keeper import Limits, kept_streams
from pipeline.streams.rungs import RUNGS, Rung, standing
from pipeline.streams.scripts import TRIM

#: Unread entries of a kept stream are counted up to here; Redis's own lag cannot be trusted.
MAX_COUNTED: Final = 10_000


class Group(msgspec.Struct, kw_only=True):
    """A consumer group: what it has still to read, and what it holds."""

    name: str
    #: Entries not delivered yet; at most MAX_COUNTED are counted.
    waiting: int
    pending: int
    #: Age of the oldest pending entry, since it was written.
    oldest_pending_s: float | None = None
    consumers: int = 0


class Stream(msgspec.Struct, kw_only=True):
    """A stream, by its name without the namespace."""

    name: str
    length: int
    oldest_s: float | None = None
    groups: list[Group] = []
    #: The group that alone keeps more than the retention allows.
    held_back_by: str = ""


class Memory(msgspec.Struct, kw_only=True):
    """Redis's memory in bytes; `max_bytes` 0: no limit."""

    used_bytes: int
    max_bytes: int
    policy: str


class Waiting(msgspec.Struct, kw_only=True):
    """Events that wait for capacity or for one of our limits."""

    count: int
    #: How long the one that has been waiting longest does; 0: none is known.
    oldest_s: float


class Status(msgspec.Struct, kw_only=True):
    """Everything that `status` tells."""

    redis_url: str
    redis_version: str
    memory: Memory
    streams: list[Stream]
    workers: list[living.Worker]
    gateways: list[living.Gateway]
    waiting: Waiting
    #: The rungs on which events wait, shortest first.
    ladder: list[Rung]
    limits: LimitsReport
    dead_letters: int
    #: Refused transitions, claimed and lost entries, duplicates.
    counters: dict[str, int]


class _Line(msgspec.Struct):
    end: float = 0.0


class _Event(msgspec.Struct):
    created: float = 0.0
    journal: list[_Line] = []


def read(client: redis.Redis, place: Place) -> Status:
    """Read everything in a few dozen commands, none of which blocks Redis for long."""
    names = place.names
    now = looking.follow_clock(client, names)
    limits = looking.report(client, place)
    info = client.info()
    streams = [_stream(client, place, name, now) for name in _names(place)]
    return Status(
        redis_url=place.shown_url,
        redis_version=str(info["redis_version"]),
        memory=Memory(
            used_bytes=int(info["used_memory"]),
            max_bytes=int(info.get("maxmemory", 0)),
            policy=str(info.get("maxmemory_policy", "")),
        ),
        streams=streams,
        workers=living.alive(client, names),
        gateways=living.gateways(client, names, now),
        waiting=Waiting(count=client.hlen(names.parked), oldest_s=limits.oldest_s),
        ladder=_ladder(client, place),
        limits=limits,
        dead_letters=client.xlen(names.dead),
        counters={
            "refused": 0,
            "claimed": 0,
            "lost": 0,
            "duplicates": 0,
            **{name: int(count) for name, count in read_hash(client, names.counters).items()},
        },
    )


def _ladder(client: redis.Redis, place: Place) -> list[Rung]:
    names, rungs = place.names, Catalog(place.settings).rungs()
    return standing(client.eval(RUNGS.text, 1, names.rungs, names.prefix, *rungs)).rungs


def _names(place: Place) -> Iterator[str]:
    names = place.names
    yield from names.requests.values()
    yield from (names.hop(hop.name) for hop in HOPS if hop.name != ROUTE)
    yield names.done
    yield names.dead


def _stream(client: redis.Redis, place: Place, key: str, now: float) -> Stream:
    stream = Stream(name=key.removeprefix(f"{place.names.prefix}:"), length=client.xlen(key))
    if not client.exists(key):
        return stream
    stream.groups = [_group(client, key, facts, now) for facts in client.xinfo_groups(key)]
    first = read_range(client, key, count=1)
    if first:
        stream.oldest_s = _age(first[0], now)
    stream.held_back_by = _holder(client, place, key, now)
    return stream


def _group(client: redis.Redis, key: str, facts: dict[str, bytes | int], now: float) -> Group:
    name, last = _text(facts["name"]), _text(facts["last-delivered-id"])
    pending = int(facts["pending"])
    group = Group(
        name=name,
        waiting=len(read_range(client, key, f"({last}", count=MAX_COUNTED)),
        pending=pending,
        consumers=int(facts["consumers"]),
    )
    oldest = _text(client.xpending(key, name)["min"]) if pending else ""
    entry = read_range(client, key, oldest, oldest) if oldest else []
    if entry:
        group.oldest_pending_s = _age(entry[0], now)
    return group


def _text(value: bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _age(entry: Entry, now: float) -> float | None:
    """Tell an entry's age; its id is no measure, as the clock may have been moved."""
    try:
        event = msgspec.json.decode(entry[1].get(EVENT_FIELD.encode(), b""), type=_Event)
    except msgspec.MsgspecError:
        return None
    since = event.journal[-1].end if event.journal else event.created
    return round(max(0.0, now - since), 3) if since else None


def _holder(client: redis.Redis, place: Place, key: str, now: float) -> str:
    """Ask the trimming script, without trimming, who keeps it from its work."""
    retention = place.settings.retention
    limits = Limits(
        events_s=int(retention.events_s),
        dead_s=int(retention.dead_s),
        max_entries=retention.max_entries,
    )
    keep_s = dict(kept_streams(place.names, limits)).get(key)
    if keep_s is None:
        return ""
    oldest = f"{max(0, int((now - keep_s) * 1000))}-0"
    _, holder = client.eval(TRIM.text, 1, key, place.names.prefix, oldest, limits.max_entries, 0, 0)
    return _text(holder)
