"""The dead letters: listing, finding, editing and purging them; `redriving` replays them."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline import event as events
from pipeline.errors import BadRequest, QueueFull, RedisUnavailable
from pipeline.names import Names
from pipeline.streams.batch import split
from pipeline.streams.dead.changes import Changes
from pipeline.streams.dead.letter import Letter, LetterFilter, read
from pipeline.streams.dead.redriving import Redriving, Replayed, body_word
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.patience import patiently
from pipeline.streams.scripts import Script, load

_FIND: Final = load("pipeline.streams.dead", "letters")
_AMEND: Final = load("pipeline.streams.dead", "amend")
_PURGE: Final = load("pipeline.streams.dead", "purge")

#: Entries that Redis looks at in one go, and how often for one page of letters.
LOOK: Final = 100
LOOKS: Final = 20

#: Letters purged in one call of the script at the most: a bound on its time in Redis.
PURGE_BATCH: Final = 500

_ENTRY_ID: Final = re.compile(r"\d{1,20}(-\d{1,20})?")


class Page(msgspec.Struct, frozen=True):
    """Letters found, oldest first, and the entry id after which to look on; empty: no more."""

    letters: list[Letter]
    after: str


class Letters:
    """The stream `dead`. Every method may raise `RedisUnavailable`."""

    def __init__(self, link: Link, names: Names, *, dead_s: float) -> None:
        self._link = link
        self._names = names
        #: How long the body of a letter is kept after an edit: `retention.dead_s`.
        self._dead_s = dead_s
        self._redriving = Redriving(link, names, self.body)

    async def count(self) -> int:
        """Count all letters."""
        return int(await self._call("XLEN", self._names.dead))

    async def newest(self) -> str:
        """Give the entry id of the newest letter; empty: there is none."""
        rows = await self._call("XREVRANGE", self._names.dead, "+", "-", "COUNT", 1)
        return str(rows[0][0].decode()) if rows else ""

    async def scan(
        self, wanted: LetterFilter, *, after: str = "", last: str = "", limit: int = 100
    ) -> Page:
        """Find up to `limit` letters behind one entry id and up to another, oldest first.

        A page may hold fewer, or none, and yet not be the last: a look at a time is bounded.
        Raises `BadRequest` when `after` or `last` is no entry id.
        """
        for given in (after, last):
            if given and not _ENTRY_ID.fullmatch(given):
                raise BadRequest(f"`{given}` is no entry id of a letter")
        found: list[Letter] = []
        for _ in range(LOOKS):
            first = f"({after}" if after else "-"
            rows = await self._call("XRANGE", self._names.dead, first, last or "+", "COUNT", LOOK)
            for letter in map(read, rows):
                after = letter.entry
                if wanted.admits(letter):
                    found.append(letter)
                if len(found) == limit:
                    return Page(found, after)
            if len(rows) < LOOK:
                return Page(found, "")
        return Page(found, after)

    async def fetch(self, entries: Sequence[str]) -> list[Letter]:
        """Read letters by their entry ids; those that have gone are left out."""
        asked = [self._call("XRANGE", self._names.dead, entry, entry) for entry in entries]
        return [read(row) for rows in await asyncio.gather(*asked) for row in rows]

    async def find(self, reference: str) -> Letter | None:
        """Find a letter by its entry id, or the newest one of a request id."""
        if "-" in reference and _ENTRY_ID.fullmatch(reference):
            found = await self.fetch([reference])
            if found:
                return found[0]
        before = "+"
        while before:
            row, on = await self._run(_FIND, [self._names.prefix, reference, before, LOOK])
            if row:
                return read(row)
            before = on.decode()
        return None

    async def body(self, letter: Letter) -> bytes:
        """Give a letter's JSON body; empty: it is no longer in Redis, or never could be read.

        That of a malformed entry is the entry's text, as a JSON string.
        """
        if letter.event is None:
            return b""
        if letter.event.has_body:
            return bytes(letter.event.body)
        kept: bytes | None = await self._call("GET", self._names.body(letter.id))
        return kept or b""

    async def replay(
        self, letters: Sequence[Letter], *, changes: Changes | None = None
    ) -> list[Replayed]:
        """Put letters back into the flow, changed if so wished, and tell of each in order.

        Each batch is one atomic step, in which a letter leaves `dead`: an interrupted or doubled
        replay does nothing twice. One that the changes do not fit is refused, and kept.
        """
        return await self._redriving.replay(letters, changes)

    async def edit(self, letter: Letter, changes: Changes) -> Letter | None:
        """Change a letter where it is; gives it with its new entry id, or None: it has gone.

        Raises `BadRequest` when the changed body is no request, or the letter cannot be read.
        """
        plan = await self._redriving.edited(letter, changes)
        args: list[Argument] = [
            self._names.prefix, letter.entry, letter.id, events.encode(plan.event),
            events.encode(plan.edits), body_word(plan), max(1, int(self._dead_s)),
        ]  # fmt: skip
        try:
            said = (await self._link.run(_AMEND, [self._names.dead], args)).decode()
        except LinkError:
            raise RedisUnavailable(
                "Redis does not answer; the letter may or may not have been edited: look at it"
            ) from None
        if said and not _ENTRY_ID.fullmatch(said):
            raise QueueFull(f"Redis refused the edit: {said}")
        changed = msgspec.structs.replace(letter, entry=said, event=plan.event, edits=plan.edits)
        return changed if said else None

    async def purge(self, letters: Sequence[Letter]) -> int:
        """Delete letters with their bodies for good; tells how many were still there."""
        waiting, purged = list(letters), 0
        while waiting:
            batch, waiting = split(waiting, PURGE_BATCH, lambda _: 0)
            args: list[Argument] = [self._names.prefix]
            for letter in batch:
                args += [letter.entry, letter.id]
            purged += int(await self._run(_PURGE, args))
        return purged

    async def _call(self, *command: Argument) -> Reply:
        return await patiently(self._link, lambda: self._link.call(*command))

    async def _run(self, script: Script, args: Sequence[Argument]) -> Reply:
        keys = [self._names.dead]
        return await patiently(self._link, lambda: self._link.run(script, keys, args))
