"""What the meter reads off passages: each metric from the facts that hops write."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest

from pipeline.current import Configuration, configure
from pipeline.errors import Cause, Failure
from pipeline.event import Event, Facts, Line, Status, Usage
from pipeline.outcome import Climb, Die, Finish, Forward, Outcome, Wait
from pipeline.passage import Passage
from pipeline.settings.load import load
from pipeline.telemetry.exposition import written
from pipeline.telemetry.labels import Labels
from pipeline.telemetry.meter import Meter
from tests.telemetry.scrape import Scrape

_SETTINGS: Final = """
providers:
  sim: {kind: simulated, any_model: true}
  acme: {kind: openai, base_url: "http://127.0.0.1:1/v1", keys: [k]}
models:
  big: {aliases: [large], deployments: [{provider: acme, model: gpt}], fallbacks: [fast]}
  fast: {deployments: [{provider: sim, model: fast}]}
gateway: {default_model: fast}
tenants: {firm: {tokens: []}}
"""
_LINES: Final = {
    "route": Line(hop="route", start=10.0, end=10.1),
    "gate": Line(hop="gate", start=10.3, end=10.4, facts={"deployment": "acme/gpt"}),
    "call": Line(
        hop="call", start=10.5, end=12.5, facts={"deployment": "acme/gpt", "call_ms": 1900.0}
    ),
    "respond": Line(hop="respond", start=12.6, end=12.7),
}
_EVENT: Final = Event(id="r1", model="big", body_bytes=2, created=9.5, tenant="firm")


def configured(tmp_path: Path, text: str = _SETTINGS) -> Configuration:
    file = tmp_path / "sluice.yaml"
    file.write_text(text)
    return configure(load(file, environ={}))


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    made = Meter()
    made.go_by(configured(tmp_path))
    return made


def line(hop: str, start: float = 0.0, end: float = 0.0, **facts: str | float | bool) -> Line:
    return Line(hop=hop, start=start, end=end, facts=facts)


def passage(
    outcome: type[Outcome], *journal: Line, before: Event = _EVENT, **changes: object
) -> Passage:
    """Make a passage with a hop's outcome; the journal ends with its line."""
    earlier = msgspec.structs.replace(before, journal=journal[:-1])
    event = msgspec.structs.replace(before, journal=journal, **changes)
    failure = event.failure or Failure(message="no", cause="network")
    ends: Mapping[type[Outcome], Outcome] = {
        Forward: Forward(event, "gate"),
        Wait: Wait(event),
        Climb: Climb(event, failure, 60),
        Finish: Finish(event),
        Die: Die(event, failure),
    }
    return Passage(earlier, event, ends[outcome])


def told(meter: Meter) -> Scrape:
    return Scrape(written(meter.families()).decode())


def test_a_requests_four_passages_are_counted(meter: Meter) -> None:
    lines = [*_LINES.values()]
    for number in (1, 2):
        meter.passed(passage(Forward, *lines[:number]))
    used = Usage(prompt_tokens=7, completion_tokens=5, cached_tokens=3, reasoning_tokens=2)
    meter.passed(passage(Forward, *lines[:3], usage=used, attempts=1))
    meter.passed(passage(Finish, *lines, status="completed", usage=used, attempts=1))
    found = told(meter)
    ended = {"outcome": "completed", "model": "big", "tenant": "firm", "operation": "chat"}
    assert found.total("sluice_requests_total", **ended) == 1
    assert found.total("sluice_request_duration_seconds_sum", model="big") == pytest.approx(3.2)
    waits = {"route": 0.5, "gate": 0.2, "call": 0.1, "respond": 0.1}
    for hop, wait_s in waits.items():
        assert found.total("sluice_hop_wait_seconds_sum", hop=hop) == pytest.approx(wait_s)
    assert found.total("sluice_hop_duration_seconds_sum", hop="call") == pytest.approx(2.0)
    assert found.total("sluice_transitions_total", outcome="forward") == 3
    assert found.total("sluice_transitions_total", hop="respond", outcome="finish") == 1
    assert found.total("sluice_admissions_total", result="admitted", limit="") == 1
    gen_ai = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "gpt",
    }
    name = "gen_ai_client_inference"
    assert found.total(f"{name}_duration_seconds_sum", error_type="", **gen_ai) == 1.9
    counted = {"input": 7, "output": 5, "cache_read_input": 3, "reasoning_output": 2}
    for kind, tokens in counted.items():
        assert found.total(f"{name}_usage_{kind}_tokens_total", **gen_ai) == tokens
    assert found.total("sluice_calls_total", deployment="acme/gpt", outcome="answered") == 1
    assert "sluice_retries_total" not in found.names
    assert "sluice_request_failures_total" not in found.names


def test_embeddings_have_the_conventions_own_histogram(meter: Meter) -> None:
    meter.passed(passage(Forward, _LINES["call"], operation="embeddings"))
    found = told(meter)
    name = "gen_ai_client_embeddings_duration_seconds_count"
    assert found.total(name, gen_ai_operation_name="embeddings") == 1
    assert "gen_ai_client_inference_duration_seconds_count" not in found.names


def test_a_streams_first_chunk_counts_from_its_creation_and_once(meter: Meter) -> None:
    first = line("call", 11.0, 12.0, deployment="acme/gpt", call_ms=900.0, first_delta_ms=500.0)
    meter.passed(passage(Forward, first, attempts=1))
    second = line("call", 13.0, 14.0, deployment="acme/gpt", call_ms=900.0, first_delta_ms=400.0)
    begun = msgspec.structs.replace(_EVENT, attempts=1)
    meter.passed(passage(Forward, first, second, before=begun, attempts=2))
    found = told(meter)
    name = "sluice_request_time_to_first_chunk_seconds"
    assert (found.total(f"{name}_count"), found.total(f"{name}_sum")) == (1, 2.0)
    name = "gen_ai_client_inference_time_to_first_chunk_seconds"
    assert (found.total(f"{name}_count"), found.total(f"{name}_sum")) == (2, 0.9)


def test_a_wait_in_the_room_is_told_apart_from_the_queue_before_the_gate(meter: Meter) -> None:
    lines = [
        line("route", 10.0, 10.0),
        line("gate", 10.0, 10.0, waits_for="t:firm", place=2),
        line("gate", 14.0, 14.0, waits_for="capacity", place=1),
        line("gate", 30.0, 30.0, deployment="acme/gpt"),
    ]
    meter.passed(passage(Wait, *lines[:2]))
    meter.passed(passage(Wait, *lines[:3]))
    meter.passed(passage(Forward, *lines))
    found = told(meter)
    assert found.total("sluice_gate_wait_seconds_count", model="big") == 1
    assert found.total("sluice_gate_wait_seconds_sum") == 20.0
    assert found.total("sluice_hop_wait_seconds_count", hop="gate") == 1
    assert found.total("sluice_hop_wait_seconds_sum", hop="gate") == 0
    assert found.total("sluice_admissions_total", result="waited", limit="tenant") == 1
    assert found.total("sluice_admissions_total", result="waited", limit="capacity") == 1
    assert found.values("sluice_admissions_total", "limit") == {"", "tenant", "capacity"}


@pytest.mark.parametrize(
    ("why", "metadata", "limit"),
    [
        ("limited", {"dimension": "rpm"}, "rpm"),
        ("limited", {"dimension": "window"}, "window"),
        ("no_access", {"dimension": "tpm"}, "tpm"),
        ("full", {}, "queue"),
        ("unreachable", {}, "deadline"),
        ("dead", {}, "keys"),
        ("down", {}, "breaker"),
        ("heavy", {}, "size"),
    ],
)
def test_a_refusal_tells_the_kind_of_limit(
    meter: Meter, why: str, metadata: dict[str, object], limit: str
) -> None:
    failure = Failure(message="no", cause="limited", metadata=metadata)
    refused = line("gate", refused=why, scope="u:firm:bob")
    meter.passed(passage(Die, refused, failure=failure, status="failed"))
    found = told(meter)
    assert found.total("sluice_admissions_total", result="refused", limit=limit) == 1
    assert "bob" not in found.text


@pytest.mark.parametrize(
    ("cause", "status", "failed", "letters"),
    [("exhausted", "failed", 1, 1), ("limited", "failed", 1, 0), ("cancelled", "cancelled", 0, 0)],
)
def test_an_end_in_failure_tells_its_cause(
    meter: Meter, cause: Cause, status: Status, failed: int, letters: int
) -> None:
    failure = Failure(message="no", cause=cause)
    meter.passed(passage(Die, _LINES["call"], failure=failure, status=status))
    found = told(meter)
    assert found.total("sluice_requests_total", outcome=status) == 1
    assert found.total("sluice_request_failures_total", cause=cause, model="big") == failed
    assert found.total("sluice_dead_letters_total", cause=cause) == letters
    assert "sluice_deadline_misses_total" not in found.names


@pytest.mark.parametrize(("cause", "code"), [("deadline", ""), ("limited", "deadline_unreachable")])
def test_a_deadline_that_is_missed_or_cannot_be_met_is_counted(
    meter: Meter, cause: Cause, code: str
) -> None:
    failure = Failure(message="late", cause=cause, code=code)
    meter.passed(passage(Die, line("gate"), failure=failure, status="failed"))
    assert told(meter).total("sluice_deadline_misses_total", model="big") == 1


def test_a_failed_call_its_retry_and_a_climb_are_counted(meter: Meter) -> None:
    facts: Facts = {"deployment": "acme/gpt", "call_ms": 100.0, "status": 429}
    first = Line(
        hop="call", start=11.0, end=11.2, facts={**facts, "cause": "rate_limited", "rest_s": 5.0}
    )
    meter.passed(passage(Forward, first, attempts=1))
    called = msgspec.structs.replace(_EVENT, attempts=1)
    second = Line(
        hop="call", start=12.0, end=12.2, facts={**facts, "cause": "credentials", "rung": 60}
    )
    failure = Failure(message="no", cause="credentials")
    meter.passed(passage(Climb, first, second, before=called, attempts=2, failure=failure))
    # After the rung, a new leg: its first call is no retry.
    third = Line(hop="call", start=72.0, end=72.2, facts={**facts, "fallback": True, "cost": 0.25})
    climbed = msgspec.structs.replace(_EVENT, attempts=2)
    meter.passed(passage(Forward, first, second, third, before=climbed, attempts=3))
    found = told(meter)
    assert found.total("sluice_calls_total", deployment="acme/gpt") == 3
    assert found.total("sluice_calls_total", outcome="rate_limited") == 1
    assert found.total("sluice_retries_total", deployment="acme/gpt") == 1
    assert found.total("sluice_climbs_total", rung="60", cause="credentials") == 1
    assert found.total("sluice_cooldowns_total", cause="rate_limited") == 1
    assert found.total("sluice_cooldowns_total", cause="credentials") == 1
    assert found.total("sluice_fallbacks_total", model="big") == 1
    assert found.total("sluice_cost_dollars_total", deployment="acme/gpt", tenant="firm") == 0.25


def test_a_call_that_goes_on_with_an_answer_counts_its_own_tokens_alone(meter: Meter) -> None:
    so_far = Usage(prompt_tokens=10, completion_tokens=4)
    cut = line("call", 1, 2, deployment="sim/fast", call_ms=9.0, cause="interrupted")
    meter.passed(passage(Forward, cut, usage=so_far, attempts=1))
    begun = msgspec.structs.replace(_EVENT, attempts=1, usage=so_far)
    on = line("call", 3, 4, deployment="sim/fast", call_ms=9.0, continued="sim/fast", said=4)
    whole = Usage(prompt_tokens=24, completion_tokens=9)
    meter.passed(passage(Forward, cut, on, before=begun, usage=whole, attempts=2))
    found = told(meter)
    assert found.total("gen_ai_client_inference_usage_input_tokens_total") == 24
    assert found.total("gen_ai_client_inference_usage_output_tokens_total") == 9


def test_what_failed_before_any_call_is_no_call(meter: Meter) -> None:
    meter.passed(passage(Forward, line("call", lease="not served")))
    assert "sluice_calls_total" not in told(meter).names


def test_whatever_clients_name_counts_as_other(meter: Meter) -> None:
    for number in range(50):
        named = f"sim/made-up-{number}"
        event = msgspec.structs.replace(_EVENT, model=named, tenant=f"stranger-{number}")
        call = line("call", 1, 2, deployment=named, call_ms=5.0, cost=0.1, first_delta_ms=2.0)
        meter.passed(passage(Forward, call, before=event, attempts=1))
        meter.passed(passage(Finish, call, line("respond"), before=event, status="completed"))
    found = told(meter)
    assert found.total("sluice_requests_total", model="other", tenant="other") == 50
    assert found.total("sluice_calls_total", deployment="sim/other") == 50
    durations = "gen_ai_client_inference_duration_seconds_count"
    assert found.values(durations, "gen_ai_request_model") == {"other"}
    assert "made-up" not in found.text
    assert "stranger" not in found.text


def test_labels_follow_a_reload_and_counts_stay(meter: Meter, tmp_path: Path) -> None:
    answered = passage(Finish, line("respond"), status="completed")
    meter.passed(answered)
    renamed = _SETTINGS.replace("big:", "huge:").replace("firm:", "company:")
    meter.go_by(configured(tmp_path, renamed))
    meter.passed(answered)
    found = told(meter)
    assert found.total("sluice_requests_total", model="big", tenant="firm") == 1
    assert found.total("sluice_requests_total", model="other", tenant="other") == 1


def test_labels_know_aliases_and_what_nobody_serves(tmp_path: Path) -> None:
    labels = Labels(configured(tmp_path))
    assert labels.model("large") == "big"
    assert labels.tenant("") == ""
    assert labels.deployment("acme/other-model").name == "other"
    assert labels.deployment("sim/anything/at/all").name == "sim/other"
