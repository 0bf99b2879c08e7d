"""How `sluice limits` looks in a terminal: our limits, the candidates, and the verdict."""

from collections.abc import Iterator

import msgspec
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from pipeline.cli.durations import duration
from pipeline.cli.limits import EXITS, Answer, Asked, ask
from pipeline.cli.limits_view import amount
from pipeline.cli.options import Where
from pipeline.cli.plain_table import plain_table

_COLOURS = {"go": "green", "wait": "yellow", "refuse": "red"}


def run(where: Where, asked: Asked, *, as_json: bool) -> int:
    """Print what would become of a request; gives the exit status."""
    answer = ask(where, asked)
    if as_json:
        print(msgspec.json.encode(answer).decode())
        return EXITS[answer.verdict]
    console = Console(highlight=False)
    for part in _parts(answer):
        console.print(part, soft_wrap=isinstance(part, str))
    return EXITS[answer.verdict]


def _parts(answer: Answer) -> Iterator[RenderableType]:
    if answer.limits_of == "published":
        yield "[dim]by the limits that hold now[/]"
    else:
        yield f"[dim]by the limits of {escape(answer.limits_of)}, not published[/]"
    if answer.limits:
        yield _limits(answer)
        yield ""
    yield _candidates(answer)
    yield f"\n[{_COLOURS[answer.verdict]}]{escape(answer.says)}[/]"


def _limits(answer: Answer) -> Table:
    table = plain_table(
        "our limit", "limit", "used", "remaining", "wait", "why", left=("our limit", "why")
    )
    for one in answer.limits:
        counts = (amount(one.limit), amount(one.used), amount(one.remaining))
        name = f"{one.scope} {escape(one.name)} {one.dimension}"
        table.add_row(name, *counts, _wait(one.wait_s), one.why)
    return table


def _candidates(answer: Answer) -> Table:
    table = plain_table(
        "candidate", "key", "tokens", "wait", "why", left=("candidate", "key", "why")
    )
    for one in answer.candidates:
        key = "" if one.key.endswith(":") else one.key
        cells = (escape(one.deployment), escape(key), amount(one.tokens))
        table.add_row(*cells, _wait(one.wait_s), escape(one.why))
    return table


def _wait(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return duration(seconds) if seconds else "none"
