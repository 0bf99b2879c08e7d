"""`sluice show`: a request's journey, hop by hop, with its waits, attempts, usage and answer."""

from collections.abc import Iterator
from typing import Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import clock
from pipeline.cli import decision_view, place, trace_view
from pipeline.cli.asking import text_of
from pipeline.cli.durations import duration, rung_name
from pipeline.cli.journey import Journey, read
from pipeline.cli.options import Where
from pipeline.decision import DECIDING
from pipeline.errors import StartError
from pipeline.event import Line

#: Characters of the answer that are shown.
_EXCERPT: Final = 400

_COLOURS: Final = {"completed": "green", "failed": "red", "cancelled": "yellow"}


class Traced(Journey, kw_only=True):
    """A journey with the spans of each of its legs."""

    trace: list[trace_view.LegTree]


def run(where: Where, request_id: str, *, as_tree: bool, as_json: bool) -> None:
    """Print the journey of one request, or draw it `as_tree`."""
    spot = place.find(where)
    with spot.client() as client:
        journey = read(client, spot.names, request_id)
    trees = trace_view.trees(journey, spot.settings, spot.names.prefix) if as_tree else []
    if as_json:
        told = Traced(**msgspec.structs.asdict(journey), trace=trees) if as_tree else journey
        print(msgspec.json.encode(told).decode())
        return
    console = Console(highlight=False)
    _print_head(console, journey)
    if as_tree:
        trace_view.show(console, journey, spot.settings, trees)
    elif journey.journal:
        console.print(_hops(journey))
    if journey.decision:
        decision_view.show(console, journey.decision)
    _print_end(console, journey)


def _print_head(console: Console, journey: Journey) -> None:
    colour = _COLOURS.get(journey.status, "cyan")
    console.print(f"[bold]{escape(journey.id)}[/]  [{colour}]{escape(journey.status)}[/]")
    for name, text in _facts(journey):
        console.print(f"  [dim]{name:<11}[/]{escape(text)}", soft_wrap=True)


def _facts(journey: Journey) -> Iterator[tuple[str, str]]:
    facts = {
        "model": journey.model,
        "deployment": journey.deployment,
        "tenant": journey.tenant,
        "session": journey.session,
        "priority": str(journey.priority or ""),
        "created": clock.rfc3339(journey.created) if journey.created else "",
        "took": _took(journey),
        "attempts": str(journey.attempts or ""),
        "ladder": _ladder(journey),
        "leg": str(journey.leg) if journey.leg > 1 else "",
        "replay of": journey.replay_of,
        "replayed as": journey.replayed_as,
        "cancelled": "its end is still to come" if journey.is_cancelling else "",
        "reply": f"{journey.reply_entries} entries" if journey.reply_entries else "",
        "callback": journey.callback,
    }
    return ((name, text) for name, text in facts.items() if text)


def _ladder(journey: Journey) -> str:
    if not journey.rung:
        return ""
    left_s = journey.due - clock.now()
    when = f"in {duration(left_s)}" if left_s > 0 else "overdue"
    return f"rung {rung_name(journey.rung)}, goes on {when}, at {clock.rfc3339(journey.due)}"


def _took(journey: Journey) -> str:
    if not journey.created:
        return ""
    if journey.finished:
        return duration(journey.finished - journey.created)
    return f"{duration(clock.now() - journey.created)} so far"


def _hops(journey: Journey) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "hop", "at", "waited", "took", "delivery", "facts"):
        right = heading in ("at", "waited", "took", "delivery")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "facts")
    origin = free = journey.created or journey.journal[0].start
    for number, line in enumerate(journey.journal, 1):
        last = number == len(journey.journal)
        table.add_row("└─" if last else "├─", *_row(line, origin, free))
        free = line.end
    return table


def _row(line: Line, origin: float, free: float) -> tuple[str, ...]:
    told = DECIDING.get(line.hop, ())
    facts = "  ".join(f"{name}={value}" for name, value in line.facts.items() if name not in told)
    return (
        f"[bold]{escape(line.hop)}[/]",
        f"+{duration(line.start - origin)}",
        duration(line.start - free),
        duration(line.end - line.start),
        str(line.delivery) if line.delivery > 1 else "",
        escape(facts),
    )


def _print_end(console: Console, journey: Journey) -> None:
    if journey.usage:
        usage = journey.usage
        console.print(
            f"  [dim]usage      [/]{usage.prompt_tokens} prompt + {usage.completion_tokens} "
            f"completion = {usage.total_tokens} tokens"
        )
    if journey.failure:
        failure = journey.failure
        console.print(
            f"  [red]error      [/]{escape(failure.message)} "
            f"({failure.status} {escape(failure.code or failure.type)}, {failure.cause})",
            soft_wrap=True,
        )
    response = bytes(journey.response)
    if response:
        text = _answer(response)
        shown = text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}… ({len(text)} characters)"
        console.print(f"  [dim]answer     [/]{escape(shown)}", soft_wrap=True)


def _answer(response: bytes) -> str:
    try:
        return text_of(response)
    except StartError:
        return response.decode(errors="replace")
