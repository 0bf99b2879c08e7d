"""The summary of a request's way: what its headers will tell."""

import msgspec

from pipeline.event import Event, Facts, Line, Summary, encode
from pipeline.summary import summary_of

Step = tuple[str, float, float, Facts]

EVENT = Event(id="r1", model="quality", body_bytes=2, created=0.5, attempts=1)


def way(*lines: Step, **fields: object) -> Event:
    journal = tuple(Line(hop=hop, start=a, end=b, facts=facts) for hop, a, b, facts in lines)
    return msgspec.structs.replace(EVENT, journal=journal, **fields)


ROUTED: Step = ("route", 1.0, 1.1, {"candidates": 2})
ADMITTED: Step = ("gate", 1.2, 1.3, {"deployment": "sim/one"})


def test_a_way_without_a_call_and_a_wait_has_no_summary() -> None:
    assert summary_of(EVENT) is None
    assert summary_of(way(ROUTED, ADMITTED, attempts=0)) is None


def test_an_answer_at_once_waited_for_nothing() -> None:
    call: Facts = {"deployment": "sim/one", "call_ms": 70.04, "model": "one-2026", "cost": 0.5}
    event = way(ROUTED, ADMITTED, ("call", 1.4, 1.5, call), ("respond", 1.6, 1.7, {}), cost=0.5)
    assert summary_of(event) == Summary(
        deployment="sim/one", model="one-2026", attempts=1, provider_ms=70.0, cost=0.5
    )


def test_waiting_at_the_gate_on_rungs_and_before_retries_is_queueing() -> None:
    event = way(
        ROUTED,
        ("gate", 1.2, 1.3, {"waits_for": "capacity"}),
        ("gate", 2.3, 2.4, {"deployment": "sim/one"}),
        ("call", 2.5, 2.6, {"deployment": "sim/one", "call_ms": 50, "quick": 0.25}),
        ADMITTED,
        ("call", 3.0, 4.0, {"deployment": "sim/one", "call_ms": 50, "rung": 60}),
        ("gate", 64.0, 64.1, {"deployment": "sim/one"}),
        ("call", 64.2, 64.3, {"deployment": "sim/one", "call_ms": 50}),
        attempts=3,
    )
    summary = summary_of(event)
    assert summary is not None
    assert summary.queue_ms == 1000 + 250 + 60_000
    assert summary.provider_ms == 150
    assert summary.cost is None


def test_fallbacks_are_the_calls_at_other_models() -> None:
    facts: list[Facts] = [
        {"deployment": "sim/one", "call_ms": 1},
        {"deployment": "own/two", "call_ms": 1, "fallback": True},
        {"deployment": "own/three", "call_ms": 1, "fallback": True},
    ]
    summary = summary_of(way(ROUTED, *(("call", 2.0, 2.1, one) for one in facts), attempts=3))
    assert summary is not None
    assert (summary.deployment, summary.fallbacks) == ("own/three", 2)


def test_a_streams_head_counts_the_call_under_way_up_to_its_first_token() -> None:
    failed: Facts = {"deployment": "sim/one", "call_ms": 30, "cause": "overloaded"}
    event = way(ROUTED, ADMITTED, ("call", 1.4, 1.5, failed), attempts=2)
    summary = summary_of(event, {"deployment": "own/two", "first_delta_ms": 12.5})
    assert summary == Summary(deployment="own/two", attempts=2, provider_ms=42.5)


def test_a_summary_survives_its_json() -> None:
    summary = Summary(deployment="a/b", attempts=2, queue_ms=1.5, cost=0.0)
    assert msgspec.json.decode(encode(summary), type=Summary) == summary
