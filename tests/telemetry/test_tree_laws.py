"""Laws of a leg's tree, whatever the journal: one root, all inside it, the same ids each time."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tracing
from pipeline.event import Event, Facts, Line, Trace
from pipeline.outcome import Finish
from pipeline.passage import Passage
from pipeline.telemetry.calls import Known
from pipeline.telemetry.legs import Leg, ended_by, split
from pipeline.telemetry.otlp import request_of
from pipeline.telemetry.spans import Spans
from pipeline.telemetry.tree import House, tree_of

_HOUSE = House(namespace="sluice", known=lambda _: Known(provider="openai"))

#: Clocks of different processes: a line may begin before the one before it has ended.
_steps = st.tuples(st.floats(-0.05, 5), st.floats(0, 5))
_facts: st.SearchStrategy[Facts] = st.one_of(
    st.just({}),
    st.just({"waits_for": "capacity", "place": 1}),
    st.just({"deployment": "p/m", "call_ms": 3.5}),
    st.just({"deployment": "p/m", "call_ms": 99_999.0, "first_delta_ms": 2.0}),
    st.just({"deployment": "p/m", "call_ms": 1.0, "cause": "rate_limited", "provider_status": 429}),
    st.just({"rung": 60, "cause": "overloaded"}),
    st.just({"refused": "limited", "scope": "t:acme"}),
)
_hops = st.sampled_from(["route", "gate", "gate", "call", "respond"])


@st.composite
def journals(draw: st.DrawFn) -> tuple[Line, ...]:
    lines: list[Line] = []
    end = 1_800_000_000.0
    for _ in range(draw(st.integers(1, 8))):
        gap, took = draw(_steps)
        hop, start = draw(_hops), end + gap
        end = start + took
        facts, delivery = draw(_facts), draw(st.integers(1, 3))
        lines.append(Line(hop=hop, start=start, end=end, delivery=delivery, facts=facts))
    return tuple(lines)


def legs(journal: tuple[Line, ...]) -> list[Leg]:
    event = Event(id="r", model="m", body_bytes=0, created=1_800_000_000.0, journal=journal)
    found = []
    for number, stretch in enumerate(split(journal, event.created), 1):
        root = tracing.begin(tracing.NOBODY, f"r/{number}").root
        found.append(
            Leg(
                event=event, trace=Trace(root=root), number=number, lines=stretch.lines,
                start=stretch.start, calls_before=stretch.calls_before,
            )
        )  # fmt: skip
    return found


def grown(leg: Leg) -> Spans:
    tree = tree_of(leg, _HOUSE)
    assert tree is not None
    return tree


@given(journals())
def test_every_line_is_in_one_leg(journal: tuple[Line, ...]) -> None:
    assert tuple(line for leg in legs(journal) for line in leg.lines) == journal


@given(journals())
def test_a_leg_is_one_well_formed_tree(journal: tuple[Line, ...]) -> None:
    for leg in [leg for leg in legs(journal) if leg.lines]:
        root, *others = grown(leg).spans
        by_id = {span.id: span for span in (root, *others)}
        assert len(by_id) == len(others) + 1
        assert root.parent == ""
        for span in others:
            parent = by_id[span.parent]
            assert parent.start <= span.start <= span.end <= parent.end, span
            assert (span.kind == "consumer") == (parent is root)
        for span in by_id.values():
            speaks = any(name.startswith("gen_ai.") for name in span.attributes)
            assert speaks == (span.kind == "client")


@given(journals())
def test_what_is_told_twice_is_identical(journal: tuple[Line, ...]) -> None:
    for leg in legs(journal):
        if leg.lines:
            once, again = (request_of({}, [grown(leg)], "1") for _ in range(2))
            assert once.SerializeToString() == again.SerializeToString()


@given(journals(), st.booleans())
def test_what_the_gateway_serves_has_its_root_there(
    journal: tuple[Line, ...], served: bool
) -> None:
    for leg in legs(journal):
        assert leg.trace is not None
        if leg.lines:
            told = msgspec.structs.replace(leg, trace=Trace(root=leg.trace.root, served=served))
            root_id = tracing.span_id_of(leg.trace.root)
            assert any(span.id == root_id for span in grown(told).spans) != served


def test_a_leg_ends_where_its_event_does() -> None:
    line = Line(hop="respond", start=2.0, end=3.0)
    trace = Trace(root=tracing.begin(tracing.NOBODY, "r").root)
    before = Event(id="r", model="m", body_bytes=0, created=1.0, trace=trace)
    after = msgspec.structs.replace(before, journal=(line,), status="completed")
    leg = ended_by(Passage(before, after, Finish(after)))
    assert leg is not None
    assert (leg.end, leg.start, leg.lines) == ("completed", 1.0, [line])
