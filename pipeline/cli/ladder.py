"""`sluice ladder` and `sluice promote`: who waits on the rungs, and who may go now."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from rich.markup import escape

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.cli import looking
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
from pipeline.cli.durations import duration, rung_name
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.cli.plain_table import plain_table, screen
from pipeline.streams.link import Link
from pipeline.streams.rungs import PROMOTE_BATCH, Climber, ClimberFilter, Rungs, Standing

#: Events that are asked for at once.
PAGE: Final = 200

#: Pause before looking again whether the gate has emptied, and how long until that is strange.
_FULL_S: Final = 0.05
_STRANGE_S: Final = 5.0


class Promoted(msgspec.Struct, kw_only=True):
    """What promoting came to, as it is printed with --json."""

    promoted: int = 0
    #: Were on no rung any more, or never.
    not_there: int = 0


def rungs_of(link: Link, spot: Place) -> Rungs:
    """Look at the ladder that a command works on."""
    return Rungs(link, spot.names, Catalog(spot.settings).rungs())


def follow_clock(spot: Place) -> None:
    """Set this process's clock to Redis's. Raises `RedisUnavailable`."""
    with spot.client() as client:
        looking.follow_clock(client, spot.names)


def show(where: Where, wanted: ClimberFilter, *, after: str, limit: int, as_json: bool) -> int:
    """Print who waits on the rungs; gives the exit code."""
    return asyncio.run(_show(find(where), wanted, after, limit, as_json=as_json))


def promote(where: Where, ids: Sequence[str], wanted: ClimberFilter, how: How) -> int:
    """Let the named events, or those that are wanted, go on; gives the exit code."""
    return asyncio.run(_promote(find(where), tuple(ids), wanted, how))


async def _show(
    spot: Place, wanted: ClimberFilter, after: str, limit: int, *, as_json: bool
) -> int:
    follow_clock(spot)
    shown, place, more = 0, after, True
    async with linked(spot) as link:
        rungs = rungs_of(link, spot)
        while more and (not limit or shown < limit):
            count = min(PAGE, limit - shown) if limit else PAGE
            page = await rungs.scan(wanted, after=place, limit=count)
            tell(page.climbers, as_json=as_json)
            shown, place, more = shown + len(page.climbers), page.after, bool(page.after)
        stand = await rungs.stand()
    if not as_json:
        print(_summary(shown, stand))
        if more:
            print(f"Go on with --after {place}")
    return DONE if shown else NOTHING


def _summary(shown: int, stand: Standing) -> str:
    there = ", ".join(f"{rung.count:,} on {rung_name(rung.rung)}" for rung in stand.rungs)
    return f"{shown:,} shown; on the ladder: {there or 'nobody'}"


def tell(climbers: Sequence[Climber], *, as_json: bool) -> None:
    """Print events on rungs, with --json one object on each line."""
    if as_json:
        for climber in climbers:
            print(msgspec.json.encode(climber).decode())
        return
    if not climbers:
        return
    headings = ("request", "rung", "due in", "model", "tenant", "cause")
    wraps = ("model", "tenant", "cause")
    table = plain_table(*headings, left=("request", *wraps), wraps=wraps)
    for one in climbers:
        left_s = one.due - clock.now()
        table.add_row(
            escape(one.id),
            rung_name(one.rung),
            duration(left_s) if left_s > 0 else "overdue",
            escape(one.model),
            escape(one.tenant),
            escape(one.cause),
        )
    screen().print(table)


async def chosen(rungs: Rungs, wanted: ClimberFilter) -> list[Climber]:
    """List who is meant now; who climbs meanwhile may be left out."""
    found: dict[str, Climber] = {}
    after, more = "", True
    while more:
        page = await rungs.scan(wanted, after=after, limit=PAGE)
        found |= {climber.id: climber for climber in page.climbers}
        after, more = page.after, bool(page.after)
    return list(found.values())


async def _promote(spot: Place, ids: tuple[str, ...], wanted: ClimberFilter, how: How) -> int:
    follow_clock(spot)
    async with linked(spot) as link:
        rungs = rungs_of(link, spot)
        if ids and not how.dry_run:
            return await _go(rungs, list(dict.fromkeys(ids)), how)
        meant = [one for one in await chosen(rungs, wanted) if one.id in ids or not ids]
        if not meant:
            if not how.as_json:
                complain("nobody who is meant is on the ladder")
            return NOTHING
        if not how.dry_run:
            return await _go(rungs, [one.id for one in meant], how)
    tell(meant, as_json=how.as_json)
    if not how.as_json:
        print(f"{len(meant):,} would be promoted")
    return DONE


async def _go(rungs: Rungs, ids: list[str], how: How) -> int:
    told, pace = Promoted(), Pace(how.rate, PROMOTE_BATCH)

    async def promote_batch(batch: list[str]) -> None:
        await _room_at_gate(rungs, pace)
        if pace.stopped.is_set():
            return
        promoted = await rungs.promote(batch)
        told.promoted += promoted
        told.not_there += len(batch) - promoted

    finished = await each(ids, pace, promote_batch, "events")
    if how.as_json:
        print(msgspec.json.encode(told).decode())
    else:
        rest = f"; {told.not_there:,} were on no rung" if told.not_there else ""
        print(f"{told.promoted:,} promoted{rest}")
    if not finished or pace.stopped.is_set():
        complain("interrupted: the same command again goes on with the rest")
        return INTERRUPTED
    return DONE if told.promoted else FAILED


async def _room_at_gate(rungs: Rungs, pace: Pace) -> None:
    """Wait until the gate takes more: who comes new is not to wait behind all of the ladder."""
    began = clock.monotonic()
    told = False
    while await rungs.gate_is_full() and not pace.stopped.is_set():
        await pace.pause(_FULL_S)
        if not told and clock.monotonic() - began > _STRANGE_S:
            complain("nobody takes what stands at the gate: is a worker alive?")
            told = True
