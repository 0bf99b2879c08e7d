"""The tree of a leg: its spans, read off the journal (TRACES.md).

It is flat: each hop is a child of the root, so that no reader prunes a hop from the critical path;
only a provider call and a wait lie below their hop. What another hop adds later changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from pipeline import tracing
from pipeline.event import Event, Facts, Line
from pipeline.flow import CALL, GATE, ROUTE
from pipeline.telemetry import names
from pipeline.telemetry.calls import Content, Known, call_span
from pipeline.telemetry.codes import word_of
from pipeline.telemetry.legs import Leg, is_call
from pipeline.telemetry.spans import Attributes, Span, Spans, Value

#: A wait at the gate shorter than this has no span of its own, in seconds.
_WAIT_S: Final = 0.005

_FAILED: Final = "failed"

_EVERY_HOP: Final[Attributes] = {
    names.SYSTEM: "redis",
    names.OPERATION_NAME: "process",
    names.OPERATION_TYPE: "process",
}


class House(msgspec.Struct, frozen=True, kw_only=True):
    """What a leg's own facts do not tell."""

    #: The prefix of the streams.
    namespace: str
    #: Tells of a deployment by its name who provides it, and where.
    known: Callable[[str], Known]


def tree_of(leg: Leg, house: House, content: Content | None = None) -> Spans | None:
    """Build the spans of a leg that is traced, its root first unless that is the gateway's."""
    if leg.trace is None:
        return None
    hops = list(_hops(leg, house, content))
    spans = hops if leg.trace.served else [_root(leg), *hops]
    return Spans(trace_id=leg.trace.id, state=leg.trace.state, spans=spans)


def _root(leg: Leg) -> Span:
    assert leg.trace is not None
    is_first = leg.number == 1
    return Span(
        name="request" if is_first else f"request leg {leg.number}",
        kind="internal",
        id=tracing.span_id_of(leg.trace.root),
        parent=leg.trace.parent,
        is_remote=True,
        start=leg.start,
        end=max(leg.start, *(line.end for line in leg.lines)),
        attributes=root_attributes(leg),
        error=word_of(leg.event.failure) if leg.end == _FAILED else "",
        link=leg.previous,
    )


def root_attributes(leg: Leg) -> dict[str, Value]:
    """Tell of a leg as a whole."""
    event = leg.event
    told: dict[str, Value] = {
        names.REQUEST_ID: event.id,
        names.MODEL: event.model,
        names.STREAM: event.stream,
        names.OUTCOME: leg.end or event.status,
        names.LEG: leg.number,
        names.ATTEMPTS: sum(map(is_call, leg.lines)),
    }
    told |= _if_set(
        {names.TENANT: event.tenant, names.REPLAY_OF: event.replay_of, names.COST: event.cost}
    )
    if leg.end == _FAILED:
        told[names.ERROR_TYPE] = word_of(event.failure)
    if leg.end == "climbed":
        told[names.RUNG] = leg.lines[-1].facts["rung"]
    if (first := _first_delta(leg)) is not None:
        told[names.FIRST_CHUNK] = round((first - leg.start) * 1000, 2)
    return told | related(leg.previous, leg.next)


def related(previous: str, following: str = "") -> dict[str, Value]:
    """Tell of the traces before and after as attributes: readers drop those of links."""
    return _if_set(
        {
            names.PREVIOUS_TRACE: tracing.trace_id_of(previous),
            names.PREVIOUS_SPAN: tracing.span_id_of(previous),
            names.NEXT_TRACE: tracing.trace_id_of(following),
            names.NEXT_SPAN: tracing.span_id_of(following),
        }
    )


def _if_set(told: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in told.items() if value}


def _first_delta(leg: Leg) -> float | None:
    for line in leg.lines:
        if "first_delta_ms" in line.facts:
            return _called_at(line) + float(line.facts["first_delta_ms"]) / 1000
    return None


def _called_at(line: Line) -> float:
    return float(line.facts.get("called_at", line.start))


class _Run(msgspec.Struct, frozen=True):
    """A hop's run, or all its runs between which its event waited in the waiting room."""

    #: Place of the first line in the leg.
    place: int
    lines: Sequence[Line]
    #: Since when it was waited for.
    since: float

    @property
    def hop(self) -> str:
        return self.lines[0].hop

    @property
    def waited(self) -> bool:
        return len(self.lines) > 1

    @property
    def end(self) -> float:
        return max(self.start, self.lines[-1].end)

    @property
    def start(self) -> float:
        # Clocks of two processes may differ by so much as a hop takes.
        return max(self.since, self.lines[0].start)


def _runs(leg: Leg) -> Iterator[_Run]:
    lines: list[Line] = []
    since, place = leg.start, 0
    for number, line in enumerate(leg.lines):
        if lines and not (line.hop == GATE and "waits_for" in lines[-1].facts):
            yield _Run(place, lines, since)
            since, lines, place = max(since, lines[-1].end), [], number
        lines = [*lines, line]
    if lines:
        yield _Run(place, lines, since)


def _hops(leg: Leg, house: House, content: Content | None) -> Iterator[Span]:
    assert leg.trace is not None
    root, calls = leg.trace.root, leg.calls_before
    key = ""
    runs = list(_runs(leg))
    for run in runs:
        fails = run is runs[-1] and leg.end == _FAILED
        span = _hop(leg, run, house, fails=fails)
        yield span
        facts = run.lines[-1].facts
        if run.hop == GATE:
            key = str(facts.get("key", ""))
            yield from (_within(span, wait, wait.id) for wait in _waits(run, root))
        elif is_call(run.lines[-1]):
            calls += 1
            below = call_span(leg.event, run.lines[-1], house.known, key, calls)
            if content and "cause" not in facts:
                below = content.added_to(below)
            yield _within(span, below, call_id(root, run.place, run.lines[0].delivery))


def _within(parent: Span, span: Span, span_id: str) -> Span:
    start = min(max(span.start, parent.start), parent.end)
    return msgspec.structs.replace(
        span, id=span_id, parent=parent.id, start=start, end=min(max(span.end, start), parent.end)
    )


def call_id(root: str, place: int, delivery: int) -> str:
    """Derive the id of a provider call's span, which the provider may be told during the call.

    `place` is that of its hop's line in the leg.
    """
    return tracing.child_id(root, place, CALL, delivery, "call")


def _hop(leg: Leg, run: _Run, house: House, *, fails: bool) -> Span:
    assert leg.trace is not None
    first, last = run.lines[0], run.lines[-1]
    hop, start = first.hop, run.start
    stream = f"requests:{leg.event.lane}" if hop == ROUTE else hop
    told: dict[str, Value] = {
        **_EVERY_HOP,
        names.DESTINATION: f"{house.namespace}:{stream}",
        names.CONSUMER_GROUP: hop,
        names.QUEUE_WAIT: _ms(start - run.since),
        names.DELIVERY: max(line.delivery for line in run.lines) if run.waited else first.delivery,
    }
    if last.entry:
        told[names.MESSAGE_ID] = last.entry
    if fails:
        told[names.ERROR_TYPE] = word_of(leg.event.failure)
    if hop == ROUTE:
        told |= _routed(last.facts, leg.event)
    elif hop == GATE:
        told |= _gated(run, leg.event)
    return Span(
        name=f"process {hop}",
        kind="consumer",
        id=tracing.child_id(leg.trace.root, run.place, hop, first.delivery),
        parent=tracing.span_id_of(leg.trace.root),
        start=start,
        end=run.end,
        attributes=told,
        error=word_of(leg.event.failure) if fails else "",
    )


def _routed(facts: Facts, event: Event) -> dict[str, Value]:
    if "candidates" not in facts:
        return {}
    told: dict[str, Value] = {
        names.CANDIDATES: facts["candidates"],
        names.ROUTE_DEPLOYMENT: str(facts["first"]),
    }
    reason = "; ".join(f"{name}: {facts[name]}" for name in ("alias", "left_out") if name in facts)
    if event.plan:
        told[names.STRATEGY] = event.plan[0].strategy or _untold(event)
    return told | _if_set({names.REASON: reason})


def _untold(event: Event) -> str:
    """Name the strategy of a plan that does not: by rank, or by who is least busy."""
    ranks = {candidate.rank for candidate in event.plan}
    return "order" if len(ranks) == len(event.plan) else "least_busy"


def _gated(run: _Run, event: Event) -> dict[str, Value]:
    waited = [line for line in run.lines if "waits_for" in line.facts]
    last = run.lines[-1].facts
    outcome = "refused" if "refused" in last else "waited" if waited else "admitted"
    told: dict[str, Value] = {names.GATE_OUTCOME: outcome}
    if waited:
        told[names.GATE_WAIT] = _ms(sum(end - start for start, end in _pauses(run)))
        told[names.GATE_SCOPE] = str(waited[-1].facts["waits_for"])
    if "refused" in last:
        told |= _if_set({names.GATE_SCOPE: str(last.get("scope", ""))})
        told[names.GATE_LIMIT] = str(last.get("limit", "") or last["refused"])
    if "deployment" in last:
        told[names.DEPLOYMENT] = str(last["deployment"])
    if event.priority:
        told[names.PRIORITY] = event.priority
    return told


def _pauses(run: _Run) -> Iterator[tuple[float, float]]:
    for line, woken in zip(run.lines, run.lines[1:], strict=False):
        yield line.end, max(line.end, woken.start)


def _waits(run: _Run, root: str) -> Iterator[Span]:
    for number, (start, end) in enumerate(_pauses(run)):
        if end - start > _WAIT_S:
            facts = run.lines[number].facts
            yield Span(
                name="gate wait",
                kind="internal",
                id=tracing.child_id(root, run.place + number, GATE, "wait"),
                start=start,
                end=end,
                attributes={
                    names.GATE_SCOPE: str(facts["waits_for"]),
                    names.GATE_PLACE: facts.get("place", 0),
                },
            )


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
