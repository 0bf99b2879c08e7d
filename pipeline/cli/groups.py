"""`sluice groups`: the groups that read the kept streams, and what can be done with a user's own.

What a group has still to read, and what it holds back, is counted by reading the stream: Redis's
own count is wrong once anything was deleted.
"""

import sys
from typing import Final, cast

import msgspec
import redis
import typer

from pipeline.cli import entry_ids, looking
from pipeline.cli.entries import Entry, read_range
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.errors import BadRequest, StartError
from pipeline.flow import HOPS, ROUTE
from pipeline.names import EVENT_FIELD, LANES, Names
from pipeline.streams.carrier import CALLBACK
from pipeline.streams.keeper import Limits, kept_streams

#: Entries are counted up to here.
MAX_COUNTED: Final = 10_000

#: Groups that Sluice itself reads with, and for what.
OURS: Final = {
    **{hop.name: f"the hop {hop.name} reads with it" for hop in HOPS},
    ROUTE: "it hands new requests to the hops",
    CALLBACK: "it delivers results to those who asked to be called back",
}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of a kept stream."""

    #: Without the namespace.
    stream: str
    group: str
    #: Whether it is one of Sluice's own.
    ours: bool
    consumers: int
    pending: int
    #: Entries it has not read; at most MAX_COUNTED are counted, as for those it holds back.
    unread: int
    #: Age of the oldest of those, since its event's last step; None: there is none, or it tells
    #: no time.
    oldest_unread_s: float | None
    #: Entries that only a group keeps from being trimmed, as far as this one does.
    holds_back: int


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A group that was made or reset, and what comes of it."""

    stream: str
    group: str
    #: The entry after which it reads on.
    after: str
    unread: int
    pending: int


def read(client: redis.Redis, spot: Place) -> list[Group]:
    """List the groups of all kept streams, and any strange one on a stream between hops."""
    now = looking.follow_clock(client, spot.names)
    found = []
    for key in _streams(spot.names):
        for facts in _groups_of(client, key):
            group = _group(client, spot, key, facts, now)
            if not group.ours or key in _kept(spot.names):
                found.append(group)
    return found


def create(where: Where, stream: str, group: str, place: str) -> Moved:
    """Make a group. Raises `BadRequest` where it cannot be made."""
    spot = find(where)
    key = _key(spot.names, stream)
    _refuse_ours(group)
    if key not in _kept(spot.names):
        raise BadRequest(f"{stream} keeps nothing: entries go when the hop has read them")
    with spot.client() as client:
        after = entry_ids.before(client, spot.names, key, place)
        try:
            client.xgroup_create(key, group, after, mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
            raise BadRequest(f"{_short(spot.names, key)} has a group {group} already") from None
        return _moved(client, spot, key, group)


def reset(where: Where, stream: str, group: str, place: str) -> Moved:
    """Set from where a group reads on. Raises `BadRequest`."""
    spot = find(where)
    key = _key(spot.names, stream)
    _refuse_ours(group)
    with spot.client() as client:
        _facts(client, spot.names, key, group)
        after = entry_ids.before(client, spot.names, key, place)
        client.xgroup_setid(key, group, after)
        return _moved(client, spot, key, group)


def release(where: Where, stream: str, group: str, *, sure: bool) -> Group:
    """Destroy a group, when whoever asked is sure; gives it as it was. Raises `BadRequest`."""
    spot = find(where)
    key = _key(spot.names, stream)
    _refuse_ours(group)
    with spot.client() as client:
        now = looking.follow_clock(client, spot.names)
        was = _group(client, spot, key, _facts(client, spot.names, key, group), now)
        if not sure:
            _ask(was)
        client.xgroup_destroy(key, group)
    return was


def counted(number: int) -> str:
    """Write a number that was counted up to MAX_COUNTED."""
    return f"{number:,}{'+' if number >= MAX_COUNTED else ''}"


def said(group: Group) -> str:
    """Say what stands in a group."""
    return (
        f"{group.group} on {group.stream} has {counted(group.unread)} entries to read and "
        f"{group.pending:,} pending with {group.consumers} consumers; "
        f"it holds back {counted(group.holds_back)}"
    )


def _ask(was: Group) -> None:
    if not sys.stdin.isatty():
        raise StartError(f"{said(was)}. Nobody is there to be asked: say --yes to release it")
    typer.confirm(f"{said(was)}. Release it?", abort=True, err=True)


def _streams(names: Names) -> list[str]:
    hops = [names.hop(hop.name) for hop in HOPS if hop.name != ROUTE]
    return [*_kept(names), *hops]


def _kept(names: Names) -> list[str]:
    return [*(names.requests[lane] for lane in LANES), names.done, names.dead]


def _key(names: Names, stream: str) -> str:
    """Find a stream by its name with or without the namespace, a lane's by its lane, too."""
    lanes = {f"requests:{lane}": key for lane, key in names.requests.items()}
    short = {_short(names, key): key for key in _streams(names)} | dict(names.requests) | lanes
    if key := short.get(stream.removeprefix(f"{names.prefix}:")):
        return key
    known = ", ".join(_short(names, key) for key in _kept(names))
    raise BadRequest(f"there is no stream {stream}; kept are {known}")


def _short(names: Names, key: str) -> str:
    return key.removeprefix(f"{names.prefix}:")


def _refuse_ours(group: str) -> None:
    if reason := OURS.get(group):
        raise BadRequest(f"{group} is Sluice's own group and stays as it is: {reason}")


def _groups_of(client: redis.Redis, key: str) -> list[dict[str, bytes | int]]:
    if not client.exists(key):
        return []
    return cast("list[dict[str, bytes | int]]", client.xinfo_groups(key))


def _facts(client: redis.Redis, names: Names, key: str, group: str) -> dict[str, bytes | int]:
    found = {_text(facts["name"]): facts for facts in _groups_of(client, key)}
    if group not in found:
        known = ", ".join(found) or "none"
        raise BadRequest(f"{_short(names, key)} has no group {group}; there are {known}")
    return found[group]


def _group(
    client: redis.Redis, spot: Place, key: str, facts: dict[str, bytes | int], now: float
) -> Group:
    name, last = _text(facts["name"]), _text(facts["last-delivered-id"])
    pending = int(facts["pending"])
    unread = read_range(client, key, f"({last}", count=MAX_COUNTED)
    floor = entry_ids.following(last)
    if pending:
        oldest = _text(cast("dict[str, bytes]", client.xpending(key, name))["min"])
        floor = min(oldest, floor, key=entry_ids.order)
    return Group(
        stream=_short(spot.names, key),
        group=name,
        ours=name in OURS,
        consumers=int(facts["consumers"]),
        pending=pending,
        unread=len(unread),
        oldest_unread_s=_age(unread[0], now) if unread else None,
        holds_back=_held(client, spot, key, floor, now),
    )


def _held(client: redis.Redis, spot: Place, key: str, floor: str, now: float) -> int:
    """Count from a group's floor on what its stream would not keep for its age or number."""
    kept = spot.settings.retention
    limits = Limits(
        events_s=int(kept.events_s), dead_s=int(kept.dead_s), max_entries=kept.max_entries
    )
    keep_s = dict(kept_streams(spot.names, limits)).get(key)
    if keep_s is None:
        return 0
    oldest = f"({max(0, int((now - keep_s) * 1000))}-0"
    by_age = len(read_range(client, key, floor, oldest, MAX_COUNTED))
    too_many = client.xlen(key) - kept.max_entries
    if too_many <= by_age:
        return by_age
    before = len(read_range(client, key, "-", f"({floor}", too_many))
    return min(MAX_COUNTED, max(by_age, too_many - before))


def _moved(client: redis.Redis, spot: Place, key: str, group: str) -> Moved:
    facts = _facts(client, spot.names, key, group)
    last = _text(facts["last-delivered-id"])
    return Moved(
        stream=_short(spot.names, key),
        group=group,
        after=last,
        unread=len(read_range(client, key, f"({last}", count=MAX_COUNTED)),
        pending=int(facts["pending"]),
    )


class _Line(msgspec.Struct):
    end: float = 0.0


class _Event(msgspec.Struct):
    created: float = 0.0
    journal: list[_Line] = []


def _age(entry: Entry, now: float) -> float | None:
    """Tell an entry's age; its id is no measure, as the clock may have been moved."""
    try:
        event = msgspec.json.decode(entry[1].get(EVENT_FIELD.encode(), b""), type=_Event)
    except msgspec.MsgspecError:
        return None
    since = event.journal[-1].end if event.journal else event.created
    return round(max(0.0, now - since), 3) if since else None


def _text(value: bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
