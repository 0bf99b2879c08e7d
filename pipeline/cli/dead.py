"""`sluice dead`: lists, shows, replays, edits and purges dead letters.

What was done before Ctrl-C stays done; the same command again goes on with the rest.
"""

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import typer

from pipeline import clock
from pipeline.cli import dead_view as view
from pipeline.cli.batches import DONE, FAILED, INTERRUPTED, NOTHING, How, Pace, complain, each
from pipeline.cli.dead_choice import PAGE, Choice, Desk, opened
from pipeline.cli.dead_view import Counts
from pipeline.cli.options import Where
from pipeline.cli.plain_table import screen
from pipeline.streams.dead.changes import Changes, obstacle
from pipeline.streams.dead.letter import Letter, summary
from pipeline.streams.dead.letters import PURGE_BATCH
from pipeline.streams.dead.redriving import MAX_BATCH, Replayed

#: Refusals that are told one by one.
_MOST_TOLD: Final = 20


class _Work(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is done to many letters, so many at once."""

    entries: list[str]
    do: Callable[[Desk, list[str]], Awaitable[None]]
    #: At once, at the most.
    most: int
    #: Letters a second; 0: as fast as it goes.
    rate: float = 0.0


def list_letters(where: Where, choice: Choice, *, after: str, limit: int, as_json: bool) -> int:
    """Print letters, oldest first; gives the exit code."""
    return asyncio.run(_list(where, choice, after, limit, as_json=as_json))


def show(where: Where, reference: str, *, as_json: bool) -> int:
    """Print one letter with its journey and body; gives the exit code."""
    return asyncio.run(_show(where, reference, as_json=as_json))


def replay(where: Where, choice: Choice, changes: Changes | None, how: How) -> int:
    """Replay letters and print what came of it; gives the exit code."""
    return asyncio.run(_replay(where, choice, changes, how))


def edit(where: Where, reference: str, changes: Changes, *, replays: bool, as_json: bool) -> int:
    """Edit one letter, and replay it if that is wanted; gives the exit code."""
    return asyncio.run(_edit(where, reference, changes, replays=replays, as_json=as_json))


def purge(where: Where, choice: Choice, how: How) -> int:
    """Delete letters, after asking; gives the exit code."""
    entries, missing = asyncio.run(_choose(where, choice))
    if not entries or how.dry_run:
        return asyncio.run(_would(where, entries, how, "purged"))
    if not how.sure:
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"{_letters(len(entries))} would go for good: say --yes")
        typer.confirm(f"Purge {_letters(len(entries))} for good?", abort=True, err=True)
    return asyncio.run(_purge(where, entries, how)) or (FAILED if missing else DONE)


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


async def _choose(where: Where, choice: Choice) -> tuple[list[str], int]:
    async with opened(where, choice) as desk:
        return await desk.choose(choice)


async def _list(where: Where, choice: Choice, after: str, limit: int, *, as_json: bool) -> int:
    shown, place = 0, after
    async with opened(where, choice) as desk:
        last = await desk.letters.newest()
        more = bool(last)
        while more and (not limit or shown < limit):
            count = min(PAGE, limit - shown) if limit else PAGE
            page = await desk.letters.scan(desk.wanted, after=place, last=last, limit=count)
            _print(page.letters, as_json=as_json)
            shown, place, more = shown + len(page.letters), page.after, bool(page.after)
        total = await desk.letters.count()
    if not as_json:
        on = f"; go on with --after {place}" if place and place != last else ""
        print(f"{shown} of {_letters(total)}{on}" if shown else f"None of {_letters(total)}")
    return DONE if shown else NOTHING


def _print(letters: Sequence[Letter], *, as_json: bool) -> None:
    if as_json:
        for letter in letters:
            print(msgspec.json.encode(summary(letter)).decode())
    elif letters:
        screen().print(view.listing(letters, clock.now()))


async def _show(where: Where, reference: str, *, as_json: bool) -> int:
    async with opened(where, Choice()) as desk:
        letter = await desk.find(reference)
        if letter is None:
            return NOTHING
        body = await desk.letters.body(letter)
    if as_json:
        print(msgspec.json.encode(view.as_shown(letter, body)).decode())
    else:
        view.page(screen(), letter, body)
    return DONE


async def _replay(where: Where, choice: Choice, changes: Changes | None, how: How) -> int:
    async with opened(where, choice) as desk:
        entries, missing = await desk.choose(choice)
    if not entries or how.dry_run:
        return await _would(where, entries, how, "replayed")
    counts = Counts()

    async def replay_batch(desk: Desk, batch: list[str]) -> None:
        letters = await desk.letters.fetch(batch)
        counts.gone += len(batch) - len(letters)
        for told in await desk.letters.replay(letters, changes=changes):
            _tell(told, counts, as_json=how.as_json, named=bool(choice.references))

    work = _Work(entries=entries, do=replay_batch, most=MAX_BATCH, rate=how.rate)
    ended = await _carry_out(where, work, counts, as_json=how.as_json)
    return FAILED if ended == DONE and (counts.refused or missing) else ended


def _tell(told: Replayed, counts: Counts, *, as_json: bool, named: bool) -> None:
    setattr(counts, told.state, getattr(counts, told.state) + 1)
    if as_json:
        print(msgspec.json.encode(told).decode(), flush=True)
    elif told.state == "refused" and counts.refused <= _MOST_TOLD:
        complain(told.why)
    elif named:
        run_as = f" as {told.replayed_as}" if told.replayed_as not in ("", told.id) else ""
        print(f"{told.id} {told.state}{run_as}")


async def _purge(where: Where, entries: list[str], how: How) -> int:
    counts = Counts()

    async def purge_batch(desk: Desk, batch: list[str]) -> None:
        purged = await desk.letters.purge(await desk.letters.fetch(batch))
        counts.purged += purged
        counts.gone += len(batch) - purged

    work = _Work(entries=entries, do=purge_batch, most=PURGE_BATCH)
    ended = await _carry_out(where, work, counts, as_json=how.as_json)
    if how.as_json:
        print(msgspec.json.encode({"purged": counts.purged, "gone": counts.gone}).decode())
    return ended


async def _would(where: Where, entries: list[str], how: How, what: str) -> int:
    """Say what would become of the letters that are meant."""
    if not entries:
        if not how.as_json:
            complain("no dead letter matches")
        return NOTHING
    async with opened(where, Choice()) as desk:
        for at in range(0, len(entries), PAGE):
            letters = await desk.letters.fetch(entries[at : at + PAGE])
            _print(letters, as_json=how.as_json)
            for why in filter(None, map(obstacle, letters if what == "replayed" else ())):
                complain(why)
    if not how.as_json:
        print(f"{_letters(len(entries))} would be {what}")
    return DONE


async def _edit(
    where: Where, reference: str, changes: Changes, *, replays: bool, as_json: bool
) -> int:
    async with opened(where, Choice()) as desk:
        letter = await desk.find(reference)
        if letter is None:
            return NOTHING
        edited = await desk.letters.edit(letter, changes)
        if edited is None:
            complain(f"the letter {letter.entry} has gone in the meantime")
            return FAILED
        told = await desk.letters.replay([edited]) if replays else []
    counts = Counts()
    for one in told:
        _tell(one, counts, as_json=as_json, named=True)
    if not replays and as_json:
        print(msgspec.json.encode(summary(edited)).decode())
    elif not replays:
        print(f"{edited.id} edited; it is now the letter {edited.entry}")
        print(f"Replay it: sluice dead replay {edited.id}")
    return FAILED if counts.refused else DONE


async def _carry_out(where: Where, work: _Work, counts: Counts, *, as_json: bool) -> int:
    """Do the work as far as Ctrl-C and Redis let it, and say how far that was."""
    finished = False
    try:
        async with opened(where, Choice()) as desk:
            do = functools.partial(work.do, desk)
            finished = await each(work.entries, Pace(work.rate, work.most), do, "letters")
    finally:
        if not as_json:
            print(f"{'Done' if finished else 'Interrupted'}: {counts}", flush=True)
        if not finished:
            complain("what was done stays done; the same command again goes on with the rest")
    return DONE if finished else INTERRUPTED
