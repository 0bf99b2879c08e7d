"""What follows a failed call: the same deployment, the next one, a rung, or the end."""

from pathlib import Path

import msgspec
import pytest

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.errors import Cause, Failure
from pipeline.event import Event, Facts, Lease, Line, written
from pipeline.limits.tickets import candidates
from pipeline.outcome import Climb, Die, Forward, Outcome
from pipeline.settings.load import RetrySettings, load
from tests.streams.rig import make_event
from tests.workers.bench import settings_for
from workers.remedy import after, has_stand_in

RETRY = RetrySettings(quick=2, backoff_s=1, max_backoff_s=1.5)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(settings_for(tmp_path, "http://127.0.0.1:1/v1", ladder=[60, 600]))


def leased(catalog: Catalog, model: str, **changes: object) -> Event:
    plan = catalog.candidates(model)
    event = make_event("r1", model=model, plan=plan, attempts=1)
    lease = Lease(deployment=plan[0].deployment)
    return msgspec.structs.replace(event, lease=lease, **changes)


def failure(cause: Cause, **form: object) -> Failure:
    return msgspec.structs.replace(Failure(message="no", cause=cause), **form)


def judge(catalog: Catalog, event: Event, failed: Failure, call_ms: float = 5) -> Outcome:
    assert event.lease
    facts: Facts = {
        "deployment": event.lease.deployment, "call_ms": call_ms, "cause": failed.cause,
    }  # fmt: skip
    return after(event, failed, facts, catalog, RETRY)


def retried(catalog: Catalog, event: Event, failed: Failure, call_ms: float = 5) -> list[float]:
    """Let the same call fail until something else is done; give the pauses before its retries."""
    pauses = []
    while isinstance(outcome := judge(catalog, event, failed, call_ms), Forward):
        if "quick" not in outcome.facts:
            break
        pauses.append(float(outcome.facts["quick"]))
        line = Line(hop="call", start=0, end=0, facts=outcome.facts)
        event = msgspec.structs.replace(written(outcome.event, line), lease=event.lease)
    return pauses


@pytest.mark.parametrize("cause", ["network", "timeout", "overloaded"])
def test_the_only_deployment_is_asked_again_with_growing_pauses(
    catalog: Catalog, cause: Cause
) -> None:
    first, second = retried(catalog, leased(catalog, "plain"), failure(cause))
    assert 0.5 <= first <= 1.5
    assert 0.75 <= second <= 2.25


@pytest.mark.parametrize(("cause", "times"), [("network", 1), ("timeout", 1), ("overloaded", 0)])
def test_where_another_is_left_the_same_is_asked_once_more_at_most(
    catalog: Catalog, cause: Cause, times: int
) -> None:
    assert len(retried(catalog, leased(catalog, "spare"), failure(cause))) == times


def test_an_empty_completion_is_asked_for_once_more(catalog: Catalog) -> None:
    event = leased(catalog, "plain")
    assert len(retried(catalog, event, failure("overloaded", code="empty_completion"))) == 1


@pytest.mark.parametrize(("call_ms", "hint_s"), [(20_000, 0), (5, 30)])
def test_what_no_moment_mends_is_not_asked_again_at_once(
    catalog: Catalog, call_ms: float, hint_s: float
) -> None:
    failed = failure("overloaded", retry_after_s=hint_s)
    assert retried(catalog, leased(catalog, "plain"), failed, call_ms) == []


def test_a_deadline_within_the_pause_forbids_it(catalog: Catalog) -> None:
    event = leased(catalog, "plain", deadline=clock.now() + 0.3)
    assert retried(catalog, event, failure("network")) == []


def test_the_next_candidate_comes_before_the_ladder(catalog: Catalog) -> None:
    event = leased(catalog, "spare", patient=True)
    outcome = judge(catalog, event, failure("overloaded"))
    assert isinstance(outcome, Forward)
    assert outcome.event.tried == (event.plan[0].deployment,)
    last = msgspec.structs.replace(
        outcome.event, lease=Lease(deployment=event.plan[1].deployment), attempts=2
    )
    climbing = judge(catalog, last, failure("overloaded"), call_ms=99_999)
    assert isinstance(climbing, Climb)
    assert (climbing.rung, climbing.event.leg, climbing.facts["rung"]) == (60, 2, 60)


def test_the_end_tells_the_rungs_that_were_climbed(catalog: Catalog) -> None:
    event = leased(catalog, "plain", patient=True, climbed=(60, 600), leg=3)
    outcome = judge(catalog, event, failure("overloaded", retry_after_s=99.0))
    assert isinstance(outcome, Die)
    assert outcome.failure.code == "provider_exhausted"
    assert outcome.failure.metadata["climbed"] == [60, 600]
    assert outcome.failure.retry_after_s == 99


def test_a_hint_beyond_the_last_rung_ends_it_and_is_told(catalog: Catalog) -> None:
    outcome = judge(
        catalog, leased(catalog, "plain", patient=True), failure("overloaded", retry_after_s=9e4)
    )
    assert isinstance(outcome, Die)
    assert outcome.failure.retry_after_s == 9e4


@pytest.mark.parametrize("cause", ["bad_request", "cancelled"])
def test_what_no_time_mends_ends(catalog: Catalog, cause: Cause) -> None:
    outcome = judge(catalog, leased(catalog, "spare", patient=True), failure(cause))
    assert isinstance(outcome, Die)
    assert outcome.failure.cause == cause


def test_deltas_that_have_gone_out_end_it(catalog: Catalog) -> None:
    outcome = judge(catalog, leased(catalog, "spare", patient=True, deltas=3), failure("network"))
    assert isinstance(outcome, Die)
    assert outcome.failure.cause == "interrupted"


def test_a_model_that_its_provider_does_not_have_is_looked_for_at_the_next(
    catalog: Catalog,
) -> None:
    event = leased(catalog, "spare", patient=True)
    outcome = judge(catalog, event, failure("model_not_found", status=404))
    assert isinstance(outcome, Forward)
    last = msgspec.structs.replace(
        outcome.event, lease=Lease(deployment=event.plan[1].deployment), attempts=2
    )
    end = judge(catalog, last, failure("model_not_found", status=404))
    assert isinstance(end, Die)
    assert end.failure.status == 404


#: Models with fallbacks of all kinds, and one whose cut streams are begun anew.
SPECIAL = """
providers: {p: {kind: simulated}}
models:
  small:
    deployments: [{provider: p, model: small}, {provider: p, model: small-too}]
    fallbacks: [other]
    context_fallbacks: [large]
    policy_fallbacks: [frank]
  other: {deployments: [{provider: p, model: other}]}
  large: {deployments: [{provider: p, model: large}], context_fallbacks: [huge]}
  huge: {deployments: [{provider: p, model: huge}]}
  frank: {deployments: [{provider: p, model: frank}]}
  anew: {deployments: [{provider: p, model: anew}, {provider: p, model: spare}], on_cut: restart}
gateway: {default_model: small}
"""


@pytest.fixture
def special(tmp_path: Path) -> Catalog:
    file = tmp_path / "special.yaml"
    file.write_text(SPECIAL)
    return Catalog(load(file, environ={}))


@pytest.mark.parametrize(
    ("code", "models"),
    [
        ("context_length_exceeded", ["large", "huge"]),
        ("content_filter", ["frank"]),
        ("content_policy_violation", ["frank"]),
    ],
)
def test_what_a_model_refuses_goes_to_those_that_are_for_it(
    special: Catalog, code: str, models: list[str]
) -> None:
    event = leased(special, "small")
    refused = failure("bad_request", code=code, status=400)
    for model in models:
        outcome = judge(special, event, refused)
        assert isinstance(outcome, Forward)
        first = candidates(outcome.event)[0].deployment
        assert first == f"p/{model}"
        event = msgspec.structs.replace(outcome.event, lease=Lease(deployment=first))
    end = judge(special, event, refused)
    assert isinstance(end, Die)
    assert (end.failure.code, end.failure.status) == (code, 400)


def test_another_bad_request_has_no_fallback(special: Catalog) -> None:
    outcome = judge(special, leased(special, "small"), failure("bad_request", status=400))
    assert isinstance(outcome, Die)


UNSAID = failure("bad_request", status=400, metadata={"inexpressible": True})


def test_what_one_form_cannot_say_is_told_the_next_candidate(special: Catalog) -> None:
    event = leased(special, "small")
    for deployment in ("p/small-too", "p/other"):
        outcome = judge(special, event, UNSAID)
        assert isinstance(outcome, Forward)
        assert candidates(outcome.event)[0].deployment == deployment
        event = msgspec.structs.replace(outcome.event, lease=Lease(deployment=deployment))
    end = judge(special, event, UNSAID)
    assert isinstance(end, Die)
    assert end.failure == UNSAID


def test_what_the_last_form_cannot_say_does_not_hide_how_the_others_failed(
    special: Catalog,
) -> None:
    plan = special.candidates("small")
    tried = tuple(one.deployment for one in plan[:-1])
    event = msgspec.structs.replace(
        leased(special, "small"), tried=tried, lease=Lease(deployment=plan[-1].deployment)
    )
    end = judge(special, msgspec.structs.replace(event, failure=failure("overloaded")), UNSAID)
    assert isinstance(end, Die)
    assert (end.failure.code, end.failure.status) == ("provider_exhausted", 503)
    patient = msgspec.structs.replace(event, failure=failure("overloaded"), patient=True)
    assert isinstance(judge(special, patient, UNSAID), Climb)


def test_a_stand_in_is_there_until_it_has_been_tried(special: Catalog) -> None:
    event = leased(special, "small")
    assert has_stand_in(event, "policy", special)
    event = msgspec.structs.replace(event, lease=Lease(deployment="p/frank"))
    assert not has_stand_in(event, "policy", special)
    assert not has_stand_in(leased(special, "other"), "policy", special)


@pytest.mark.parametrize("cause", ["interrupted", "timeout", "network"])
def test_a_cut_stream_is_begun_anew_where_its_model_says_so(special: Catalog, cause: Cause) -> None:
    outcome = judge(special, leased(special, "anew", deltas=3), failure(cause))
    assert isinstance(outcome, Forward)
    assert outcome.event.deltas == 0
