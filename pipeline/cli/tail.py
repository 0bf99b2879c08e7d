"""`sluice tail`: the events as they move, a line each, read beside the groups.

Entries between hops are deleted when they are acknowledged, so what moves fast may be missed;
`done` and `dead` keep theirs and tell every end.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, cast

import msgspec
import redis
from rich.console import Console
from rich.markup import escape

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.cli.entries import read_new
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.event import Line
from pipeline.flow import HOPS, ROUTE
from pipeline.names import EVENT_FIELD

_BLOCK_S: Final = 5.0
#: Streams of what has failed, for a time or for good.
_FAILED: Final = ("rung:", "dead", "done")
_COLOURS: Final = {"completed": "green", "failed": "red", "retrying": "yellow", "waiting": "yellow"}


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are shown; empty: all."""

    tenant: str = ""
    model: str = ""
    status: str = ""

    def admits(self, moved: "Moved") -> bool:
        """Tell whether an event is to be shown."""
        wanted = (
            (self.tenant, moved.tenant),
            (self.model, moved.model),
            (self.status, moved.status),
        )
        return all(not wish or wish == fact for wish, fact in wanted)


class _Lease(msgspec.Struct):
    deployment: str = ""


class _Failure(msgspec.Struct):
    cause: str = ""


class _Seen(msgspec.Struct):
    """An event as far as it is shown; a direct producer's has some of it only."""

    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    tenant: str | None = None
    status: str | None = None
    created: float = 0.0
    attempts: int = 0
    lease: _Lease | None = None
    failure: _Failure | None = None
    journal: list[Line] = []


class Moved(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An event that came to a stream, as it is printed with --json."""

    time: float
    #: The stream without the namespace: `requests:high`, a hop, `rung:60`, `done` or `dead`.
    stream: str
    id: str
    model: str = ""
    tenant: str = ""
    status: str = ""
    deployment: str = ""
    attempts: int = 0
    #: Why its last call failed, where it climbs or has died.
    cause: str = ""
    #: Since the request was accepted.
    ms: float = 0.0


def run(where: Where, wanted: Filter, *, as_json: bool) -> None:
    """Print events until Ctrl-C."""
    spot = find(where)
    console = Console(highlight=False)
    with suppress(KeyboardInterrupt), spot.client(block_s=_BLOCK_S) as client:
        for moved in filter(wanted.admits, follow(client, spot)):
            _print(console, moved, as_json=as_json)


def follow(client: redis.Redis, spot: Place) -> Iterator[Moved]:
    """Give what comes to any stream from now on, for ever."""
    names = spot.names
    hops = [names.hop(hop.name) for hop in HOPS if hop.name != ROUTE]
    rungs = map(names.rung, _rungs(client, spot))
    streams = [*names.requests.values(), *hops, *rungs, names.done, names.dead]
    places = {stream.encode(): _end_of(client, stream) for stream in streams}
    skip = len(names.prefix) + 1
    while True:
        for stream, entries in read_new(client, places, _BLOCK_S):
            places[stream] = entries[-1][0]
            for entry, fields in entries:
                yield _moved(stream.decode()[skip:], entry, fields)


def _rungs(client: redis.Redis, spot: Place) -> set[int]:
    """List the rungs that are configured here, and those that others use."""
    in_use = cast("list[bytes]", client.zrange(spot.names.rungs, 0, -1))
    return {*Catalog(spot.settings).rungs(), *map(int, in_use)}


def _end_of(client: redis.Redis, stream: str) -> bytes:
    """Give the id after which new entries come; `$` would miss those between two reads."""
    try:
        last: bytes = client.xinfo_stream(stream)["last-generated-id"]
    except redis.ResponseError:
        return b"0-0"
    return last


def _moved(stream: str, entry: bytes, fields: dict[bytes, bytes]) -> Moved:
    try:
        seen = msgspec.json.decode(fields.get(EVENT_FIELD.encode(), b""), type=_Seen)
    except msgspec.MsgspecError:
        return Moved(time=clock.now(), stream=stream, id=entry.decode(), status="malformed")
    now = seen.journal[-1].end if seen.journal else seen.created or clock.now()
    return Moved(
        time=now,
        stream=stream,
        id=seen.id or seen.request_id or entry.decode(),
        model=seen.model or "",
        tenant=seen.tenant or "",
        status=seen.status or "queued",
        deployment=seen.lease.deployment if seen.lease else "",
        attempts=seen.attempts,
        cause=seen.failure.cause if seen.failure and stream.startswith(_FAILED) else "",
        ms=round(max(0.0, now - seen.created) * 1000, 1) if seen.created else 0.0,
    )


def _print(console: Console, moved: Moved, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(moved).decode(), flush=True)
        return
    time = clock.rfc3339(moved.time)[11:23]
    colour = _COLOURS.get(moved.status, "dim")
    console.print(
        f"[dim]{time}[/] {moved.stream:<16} [bold]{escape(moved.id)}[/] {escape(moved.model)} "
        f"[{colour}]{escape(moved.status)}[/] {escape(moved.cause or moved.deployment)} "
        f"[dim]{moved.ms:.1f} ms[/]",
        soft_wrap=True,
    )
