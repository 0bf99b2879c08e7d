"""Which dead letters a command of `sluice dead` is about: named ones, or those a filter admits."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import typer

from pipeline.cli import looking
from pipeline.cli.batches import linked
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.errors import BadRequest
from pipeline.streams.dead.letter import Letter, LetterFilter
from pipeline.streams.dead.letters import Letters
from pipeline.streams.link import Link
from pipeline.times import parse_time

#: Letters that are asked for at once.
PAGE: Final = 200


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says of the letters that are meant; times as they were written."""

    #: Entry ids of letters or ids of requests.
    references: tuple[str, ...] = ()
    model: str = ""
    tenant: str = ""
    cause: str = ""
    since: str = ""
    until: str = ""
    #: Whether all are meant where nothing else is said.
    everything: bool = False

    def require(self) -> None:
        """Refuse a command that leaves in the dark which letters are meant: exit code 2."""
        if self == Choice():
            raise typer.BadParameter("name letters, give a filter such as --model, or say --all")
        if self.references and self != Choice(references=self.references):
            raise typer.BadParameter(
                "name letters or give a filter, not both; another model to ask is --to-model"
            )

    def read(self, now: float) -> LetterFilter:
        """Read the times. A wrong one is misuse: exit code 2."""
        return LetterFilter(
            model=self.model,
            tenant=self.tenant,
            cause=self.cause,
            since=_time("--since", self.since, now),
            until=_time("--until", self.until, now),
        )


def _time(option: str, text: str, now: float) -> float:
    try:
        return parse_time(text, now) if text else 0.0
    except BadRequest as error:
        raise typer.BadParameter(error.message, param_hint=option) from None


class Desk(msgspec.Struct, frozen=True):
    """Where a command works on letters."""

    letters: Letters
    wanted: LetterFilter
    place: Place
    link: Link

    async def choose(self, choice: Choice) -> tuple[list[str], int]:
        """Give the entry ids of the letters that are meant now, and how many named are none.

        Letters that come while it looks are left out: a replay that fails again comes back.
        """
        if choice.references:
            return await self._named(choice.references)
        last = await self.letters.newest()
        found: list[str] = []
        after = "" if last else None
        while after is not None:
            page = await self.letters.scan(self.wanted, after=after, last=last, limit=PAGE)
            found += [letter.entry for letter in page.letters]
            after = page.after or None
        return found, 0

    async def _named(self, references: tuple[str, ...]) -> tuple[list[str], int]:
        found: list[str] = []
        missing = 0
        for reference in dict.fromkeys(references):
            letter = await self.find(reference)
            if letter is None:
                missing += 1
            elif letter.entry not in found:
                found.append(letter.entry)
        return found, missing

    async def find(self, reference: str) -> Letter | None:
        """Find a letter; where there is none, say on stderr what is known instead."""
        letter = await self.letters.find(reference)
        if letter is None:
            status = await self.link.call("HGET", self.place.names.record(reference), "status")
            known = f"; that request is {status.decode()}" if status else ""
            print(f"sluice: there is no dead letter {reference}{known}", file=sys.stderr)
        return letter


@asynccontextmanager
async def opened(where: Where, choice: Choice) -> AsyncIterator[Desk]:
    """Work on letters; any error of the connection becomes RedisUnavailable, with the address."""
    place = find(where)
    with place.client() as client:
        wanted = choice.read(looking.follow_clock(client, place.names))
    async with linked(place) as link:
        letters = Letters(link, place.names, dead_s=place.settings.retention.dead_s)
        yield Desk(letters, wanted, place, link)
