"""`sluice cancel`: requests that shall go no further, named or by what they are."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import typer
from rich.markup import escape

from pipeline import clock
from pipeline import event as events
from pipeline.cli.batches import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOTHING,
    How,
    Pace,
    complain,
    each,
    linked,
)
from pipeline.cli.durations import duration
from pipeline.cli.ladder import chosen, follow_clock, rungs_of
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.cli.plain_table import plain_table, screen
from pipeline.errors import BadRequest
from pipeline.names import Names
from pipeline.streams.link import Link
from pipeline.streams.patience import patiently
from pipeline.streams.rungs import ClimberFilter
from pipeline.streams.scripts import CANCEL
from pipeline.times import parse_time

Status = Literal["waiting", "retrying"]
State = Literal["cancelled", "ended", "unknown"]

#: Requests cancelled in one round trip at the most.
_BATCH: Final = 100

#: Waiting events that are asked for at once.
_LOOK: Final = 200

_STATES: Final[dict[int, State]] = {1: "cancelled", 0: "ended", -1: "unknown"}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant; empty: all that wait or climb. Names may be globs."""

    model: str = ""
    tenant: str = ""
    status: Status | Literal[""] = ""
    #: Created not before, as it was written.
    since: str = ""

    def read(self, now: float) -> ClimberFilter:
        """Read the time. A wrong one is misuse: exit code 2."""
        try:
            since = parse_time(self.since, now) if self.since else 0.0
        except BadRequest as error:
            raise typer.BadParameter(error.message, param_hint="--since") from None
        return ClimberFilter(model=self.model, tenant=self.tenant, since=since)


class Meant(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is to be cancelled."""

    id: str
    status: Status
    model: str
    tenant: str
    created: float


class Told(msgspec.Struct, frozen=True):
    """What became of one request, as it is printed with --json."""

    id: str
    #: `ended`: it had ended before, and stays as it is.
    state: State


def run(where: Where, ids: Sequence[str], wanted: Wanted, how: How) -> int:
    """Cancel the named requests, or those that are wanted; gives the exit code."""
    spot = find(where)
    if not ids:
        follow_clock(spot)
        meant = asyncio.run(_find(spot, wanted))
        if not meant:
            if not how.as_json:
                complain("no request matches")
            return NOTHING
        if how.dry_run:
            return _would(meant, how)
        _ask(len(meant), how)
        ids = [one.id for one in meant]
    elif how.dry_run:
        raise typer.BadParameter("a dry run is for a filter: `sluice show ID` tells of one request")
    return asyncio.run(_cancel(spot, list(dict.fromkeys(ids)), how))


def _ask(count: int, how: How) -> None:
    if how.sure:
        return
    what = "1 request" if count == 1 else f"{count:,} requests"
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{what} would be cancelled: say --yes")
    typer.confirm(f"Cancel {what}?", abort=True, err=True)


async def _find(spot: Place, wanted: Wanted) -> list[Meant]:
    found: dict[str, Meant] = {}
    admitted = wanted.read(clock.now())
    async with linked(spot) as link:
        if wanted.status != "retrying":
            found |= {one.id: one for one in await _waiting(link, spot.names, admitted)}
        if wanted.status != "waiting":
            for one in await chosen(rungs_of(link, spot), admitted):
                found[one.id] = Meant(
                    id=one.id,
                    status="retrying",
                    model=one.model,
                    tenant=one.tenant,
                    created=one.created,
                )
    return [one for one in found.values() if one.id]


async def _waiting(link: Link, names: Names, wanted: ClimberFilter) -> list[Meant]:
    """List who waits for capacity and is meant."""
    found: list[Meant] = []
    cursor, more = b"0", True
    while more:
        cursor, flat = await link.call("HSCAN", names.parked, cursor, "COUNT", _LOOK)
        for payload in flat[1::2]:
            event = events.decode(payload)
            if wanted.fits(event):
                found.append(
                    Meant(
                        id=event.id,
                        status="waiting",
                        model=event.model,
                        tenant=event.tenant,
                        created=event.created,
                    )
                )
        more = cursor != b"0"
    return found


def _would(meant: list[Meant], how: How) -> int:
    if how.as_json:
        for one in meant:
            print(msgspec.json.encode(one).decode())
        return DONE
    headings = ("request", "status", "ago", "model", "tenant")
    left = ("request", "status", "model", "tenant")
    table = plain_table(*headings, left=left, wraps=headings[1:])
    for one in meant:
        age = duration(clock.now() - one.created)
        table.add_row(escape(one.id), one.status, age, escape(one.model), escape(one.tenant))
    screen().print(table)
    print(f"{len(meant):,} would be cancelled")
    return DONE


async def _cancel(spot: Place, ids: list[str], how: How) -> int:
    counts: dict[State, int] = dict.fromkeys(_STATES.values(), 0)
    pace = Pace(0.0, _BATCH)
    async with linked(spot) as link:

        async def cancel_batch(batch: list[str]) -> None:
            asked = [cancel_one(link, spot.names, request_id) for request_id in batch]
            for request_id, state in zip(batch, await asyncio.gather(*asked), strict=True):
                counts[state] += 1
                if how.as_json:
                    print(msgspec.json.encode(Told(request_id, state)).decode(), flush=True)
                elif state == "unknown":
                    complain(f"no request {request_id} is known here: never accepted, or expired")

        finished = await each(ids, pace, cancel_batch, "requests")
    if not how.as_json:
        print(_said(counts))
    if not finished:
        complain("interrupted: the same command again goes on with the rest")
        return INTERRUPTED
    return FAILED if counts["unknown"] else DONE


async def cancel_one(link: Link, names: Names, request_id: str) -> State:
    """Cancel a request wherever it is. Raises `RedisUnavailable`."""
    keys = [names.record(request_id)]
    arguments = [names.prefix, request_id, "operator"]
    return _STATES[await patiently(link, lambda: link.run(CANCEL, keys, arguments))]


def _said(counts: dict[State, int]) -> str:
    ended = f"; {counts['ended']:,} had ended before" if counts["ended"] else ""
    return f"{counts['cancelled']:,} cancelled{ended}"
