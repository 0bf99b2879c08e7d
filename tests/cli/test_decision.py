"""The decision that `sluice show` draws: read from a journal, and readable."""

import io

import msgspec
from rich.console import Console

from pipeline.cli import decision_view
from pipeline.decision import Chosen, Decision, decision_in, decision_of
from pipeline.event import Facts, Line


def line(hop: str, **facts: str | float) -> Line:
    told: Facts = dict(facts)
    return Line(hop=hop, start=1.0, end=2.0, facts=told)


JOURNAL = [
    line(
        "route", candidates=2, first="p/a", alias="gpt-4", left_out="p/b: no vision; p/c: no tools"
    ),
    line("gate", waits_for="capacity", place=3),
    line(
        "gate",
        deployment="p/a",
        chosen_by="latency",
        scores="p/a 0.8, p/d 1.2",
        passed_over="p/d cut off, p/e full",
    ),
    line("call", deployment="p/a", config="0a1b", cause="overloaded", call_ms=3.0),
    line("gate", deployment="p/d"),
    line("call", deployment="p/d", config="2c3d", call_ms=5.0),
]


def drawn(decision: Decision) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    decision_view.show(console, decision)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_journal_tells_who_could_serve_who_could_not_and_each_choice() -> None:
    decision = decision_of(JOURNAL)
    assert decision == Decision(
        candidates=2,
        first="p/a",
        alias="gpt-4",
        left_out=("p/b: no vision", "p/c: no tools"),
        chosen=(
            Chosen(
                deployment="p/a",
                config="0a1b",
                chosen_by="latency",
                scores="p/a 0.8, p/d 1.2",
                passed_over="p/d cut off, p/e full",
            ),
            Chosen(deployment="p/d", config="2c3d"),
        ),
    )
    assert decision_in([msgspec.Raw(msgspec.json.encode(one)) for one in JOURNAL]) == decision


def test_before_the_route_there_is_no_decision() -> None:
    assert decision_of([]) is None
    assert decision_of([line("route")]) is None


def test_a_decision_is_drawn_line_by_line() -> None:
    decision = decision_of(JOURNAL)
    assert decision is not None
    assert drawn(decision).splitlines() == [
        "  route      2 candidates, first p/a, asked for as gpt-4",
        "             left out: p/b: no vision",
        "             left out: p/c: no tools",
        "  choice 1   p/a (latency), configuration 0a1b",
        "             scores: p/a 0.8, p/d 1.2",
        "             passed over: p/d cut off, p/e full",
        "  choice 2   p/d, configuration 2c3d",
    ]


def test_the_plainest_decision_is_two_lines() -> None:
    decision = Decision(candidates=1, first="p/a", chosen=(Chosen(deployment="p/a"),))
    assert drawn(decision).splitlines() == [
        "  route      1 candidate, first p/a",
        "  choice     p/a",
    ]


def test_the_further_models_that_its_work_needs_are_told() -> None:
    told = line("route", candidates=1, first="p/a", also="e: 3 calls, first p/e; m: 1 call")
    decision = decision_of([told])
    assert decision is not None
    assert decision.also == ("e: 3 calls, first p/e", "m: 1 call")
    assert drawn(decision).splitlines()[1:] == [
        "  also needs e: 3 calls, first p/e",
        "  also needs m: 1 call",
    ]
