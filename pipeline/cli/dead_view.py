"""How dead letters and what became of them look: tables, and a letter's page."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import clock
from pipeline.cli.durations import duration
from pipeline.cli.plain_table import plain_table
from pipeline.event import Line
from pipeline.streams.dead.letter import Letter, Summary, summary

#: Characters of a body and of an error's message that are shown.
_EXCERPT: Final = 400
_MESSAGE: Final = 60

_DELIVERED: Final = "a part of an answer: its replay gets an id of its own"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What `show --json` prints: the summary with its journal, and the body, null where it went."""

    letter: Summary
    body: msgspec.Raw


class Counts(msgspec.Struct):
    """What became of the letters of a replay or purge."""

    replayed: int = 0
    repeated: int = 0
    gone: int = 0
    refused: int = 0
    purged: int = 0

    def __str__(self) -> str:
        counts = [(getattr(self, name), name) for name in self.__struct_fields__]
        return ", ".join(f"{count} {name}" for count, name in counts if count) or "nothing"


def listing(letters: Sequence[Letter], now: float) -> Table:
    """Lay letters out as a table."""
    left = ("letter", "request", "model", "tenant", "cause", "error")
    table = plain_table(
        "letter", "request", "ago", "model", "tenant", "cause", "calls", "error",
        left=left, wraps=("model", "tenant", "cause", "error"),
    )  # fmt: skip
    for letter in letters:
        told = summary(letter)
        message = told.error.message if told.error else told.fault
        short = message if len(message) <= _MESSAGE else f"{message[:_MESSAGE]}…"
        table.add_row(
            escape(told.letter),
            escape(told.id),
            duration(now - told.at),
            escape(told.model),
            escape(told.tenant),
            escape(told.cause),
            str(told.attempts or ""),
            escape(short),
        )
    return table


def page(console: Console, letter: Letter, body: bytes) -> None:
    """Print everything that is known of one letter."""
    told = summary(letter, whole=True)
    console.print(f"[bold]{escape(told.id or told.letter)}[/]  [red]{escape(told.cause)}[/]")
    for name, text in _facts(told, letter, body):
        console.print(f"  [dim]{name:<11}[/]{escape(text)}", soft_wrap=True)
    if told.journal:
        console.print(_journey(told.journal, told.created))


def _facts(told: Summary, letter: Letter, body: bytes) -> Iterator[tuple[str, str]]:
    error = told.error
    facts = {
        "letter": told.letter,
        "error": f"{error.message} ({error.status} {error.code or error.type})" if error else "",
        "unreadable": told.fault,
        "model": told.model,
        "tenant": told.tenant,
        "user": told.user,
        "priority": str(told.priority or ""),
        "created": clock.rfc3339(told.created) if told.created else "",
        "died": clock.rfc3339(told.at),
        "calls": str(told.attempts or ""),
        "climbed": ", ".join(f"{rung} s" for rung in told.climbed),
        "delivered": _DELIVERED if told.delivered else "",
        "replay of": told.replay_of,
        "edited": "; ".join(f"{', '.join(e.changed)} at {clock.rfc3339(e.at)}" for e in told.edits),
        "body": _body(letter, body),
    }
    return ((name, text) for name, text in facts.items() if text)


def _body(letter: Letter, body: bytes) -> str:
    if not body:
        return "no longer in Redis: a replay needs an edit with a new one" if letter.event else ""
    text = body.decode(errors="replace")
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}… ({len(text)} characters)"


def _journey(lines: Sequence[Line], created: float) -> Table:
    table = plain_table("hop", "at", "took", "facts", left=("hop", "facts"))
    for line in lines:
        facts = "  ".join(f"{name}={value}" for name, value in line.facts.items())
        at = f"+{duration(line.start - created)}"
        table.add_row(escape(line.hop), at, duration(line.end - line.start), escape(facts))
    return table


def as_shown(letter: Letter, body: bytes) -> Shown:
    """Give a letter's page for programs."""
    return Shown(letter=summary(letter, whole=True), body=msgspec.Raw(body or b"null"))
