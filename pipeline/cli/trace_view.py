"""`sluice show --trace`: the tree of a request's spans, leg by leg, drawn along its time.

It is built from the journal by what builds the spans for a collector; only what gateways add, the
HTTP exchange and the delivery, is not in the journal. What was not sampled can be drawn as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.catalog import Catalog
from pipeline.cli.durations import duration
from pipeline.cli.journey import Journey
from pipeline.event import ENDED, Event, Trace
from pipeline.settings.load import Settings
from pipeline.telemetry import names
from pipeline.telemetry.calls import known_by
from pipeline.telemetry.jaeger import trace_url
from pipeline.telemetry.legs import End, Leg, split
from pipeline.telemetry.spans import Span
from pipeline.telemetry.tree import House, tree_of

#: Width of the line of time, in characters: in a wide terminal, and at the least.
_WIDTH, _NARROW = 32, 8
#: What the columns beside it want.
_BESIDE: Final = 88
_NO_TRACE: Final = f"00-{'0' * 32}-{'0' * 16}-00"

#: Attributes that are told beside a span, and what they are called there.
_TOLD: Final[Mapping[str, str]] = {
    names.OUTCOME: "",
    names.ROUTE_DEPLOYMENT: "first",
    names.CANDIDATES: "candidates",
    names.GATE_OUTCOME: "",
    names.GATE_SCOPE: "for",
    names.GATE_PLACE: "place",
    names.DELIVERY: "delivery",
    names.ATTEMPT: "attempt",
    names.DEPLOYMENT: "",
    names.HTTP_STATUS: "status",
    names.GEN_AI_OUTPUT_TOKENS: "tokens",
    names.RETRY_AFTER: "rests_ms",
}
#: Not worth telling.
_USUAL: Final = {(names.DELIVERY, 1), (names.GATE_OUTCOME, "admitted")}


class LegTree(msgspec.Struct, frozen=True, kw_only=True):
    """The spans of one leg, its root first."""

    leg: int
    spans: list[Span]


def trees(journey: Journey, settings: Settings, namespace: str) -> list[LegTree]:
    """Build the tree of each leg of a journey."""
    house = House(namespace=namespace, known=known_by(Catalog(settings)))
    found = [(leg, tree_of(leg, house)) for leg in _legs(journey)]
    return [LegTree(leg=leg.number, spans=tree.spans) for leg, tree in found if tree]


def _legs(journey: Journey) -> Iterator[Leg]:
    event = Event(
        id=journey.id,
        operation="embeddings" if journey.operation == "embeddings" else "chat",
        model=journey.model,
        body_bytes=0,
        priority=journey.priority,
        created=journey.created,
        tenant=journey.tenant,
        replay_of=journey.replay_of,
        usage=journey.usage,
        finish_reason=journey.finish_reason,
        failure=journey.failure,
        cost=journey.cost or 0.0,
    )
    stretches = [one for one in split(journey.journal, journey.created) if one.lines]
    first = max(1, journey.leg) - len(stretches) + 1
    for number, stretch in enumerate(stretches):
        end: End = "climbed" if "rung" in stretch.lines[-1].facts else _end(journey.status)
        yield Leg(
            event=event,
            trace=Trace(root=_NO_TRACE),
            number=max(1, first) + number,
            lines=stretch.lines,
            start=stretch.start,
            end=end,
            calls_before=stretch.calls_before,
        )


def _end(status: str) -> End:
    known: dict[str, End] = {
        "completed": "completed", "failed": "failed", "cancelled": "cancelled",
    }  # fmt: skip
    return known.get(status, "")


def show(console: Console, journey: Journey, settings: Settings, found: Sequence[LegTree]) -> None:
    """Draw the trees."""
    if journey.trace_id:
        console.print(f"  [dim]trace      [/]{journey.trace_id}")
    if page := trace_url(settings.telemetry, journey.trace_id):
        console.print(f"  [dim]jaeger     [/]{escape(page)}", soft_wrap=True)
    for tree in found:
        width = min(_WIDTH, max(_NARROW, console.width - _BESIDE))
        console.print(_table(tree.spans, width))
    if journey.status not in ENDED:
        console.print(f"  [dim]goes on    [/]{escape(journey.status)}")


def _table(spans: Sequence[Span], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "at", "took", "", "facts"):
        right = heading in ("at", "took")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "facts")
    root = spans[0]
    for span, branch in _drawn(spans, root.id, ""):
        table.add_row(*_row(span, branch, root, width))
    return table


def _drawn(spans: Sequence[Span], parent: str, indent: str) -> Iterator[tuple[Span, str]]:
    if not indent:
        yield spans[0], ""
    below = [span for span in spans[1:] if span.parent == parent]
    for span in below:
        is_last = span is below[-1]
        yield span, f"{indent}{'└─ ' if is_last else '├─ '}"
        deeper = f"{indent}{'   ' if is_last else '│  '}"
        yield from _drawn(spans, span.id, deeper)


def _row(span: Span, branch: str, root: Span, width: int) -> tuple[str, ...]:
    colour = "red" if span.error else "bold" if span is root else "default"
    return (
        f"[dim]{branch}[/][{colour}]{escape(span.name)}[/]",
        f"+{duration(span.start - root.start)}",
        duration(span.end - span.start),
        f"[{'red' if span.error else 'cyan'}]{_bar(span, root, width)}[/]",
        escape(_facts(span)),
    )


def _bar(span: Span, root: Span, width: int) -> str:
    """Draw when a span was, within its leg."""
    whole = max(root.end - root.start, 1e-9)
    first = min(width - 1, int((span.start - root.start) / whole * width))
    length = max(1, round((span.end - span.start) / whole * width))
    return f"{' ' * first}{'━' * min(length, width - first)}".ljust(width)


def _facts(span: Span) -> str:
    told = [f"error={span.error}"] if span.error else []
    if waited := span.attributes.get(names.QUEUE_WAIT):
        told.append(f"queued={duration(float(str(waited)) / 1000)}")
    for name, shown in _TOLD.items():
        value = span.attributes.get(name)
        is_named = name == names.DEPLOYMENT and span.kind == "client"
        if value is not None and not is_named and (name, value) not in _USUAL:
            told.append(f"{shown}={value}" if shown else str(value))
    first_s = span.attributes.get(names.GEN_AI_FIRST_CHUNK)
    if first_s is not None:
        told.append(f"first_chunk={duration(float(str(first_s)))}")
    return "  ".join(told)
