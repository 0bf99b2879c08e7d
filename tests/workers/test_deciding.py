"""route, gate and respond: hops that decide, called as the functions that they are."""

import msgspec
import pytest

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.event import Candidate, Event, Line, Usage, written
from pipeline.outcome import Climb, Die, Finish, Forward, Wait
from pipeline.settings.load import Settings
from tests.limits.rooms import in_state
from tests.streams import rig
from tests.streams.rig import Client, make_event
from tests.workers.bench import MODELS, Bench
from workers.call import call
from workers.gate import gate
from workers.respond import respond
from workers.route import route

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("model", MODELS)
async def test_route_plans_the_deployments_of_a_model_in_order(
    settings: Settings, model: str
) -> None:
    outcome = await route(make_event(model=model), catalog=Catalog(settings))
    assert isinstance(outcome, Forward)
    assert outcome.to == "gate"
    planned = [candidate.deployment for candidate in outcome.event.plan]
    assert planned == [f"sim/{deployment}" for deployment in MODELS[model]]
    assert outcome.facts == {"candidates": len(planned), "first": planned[0]}


async def test_route_ends_a_request_for_an_unknown_model(settings: Settings) -> None:
    outcome = await route(make_event(model="plian"), catalog=Catalog(settings))
    assert isinstance(outcome, Die)
    failure = outcome.failure
    assert (failure.status, failure.code, failure.cause) == (
        404,
        "model_not_found",
        "model_not_found",
    )
    assert "Did you mean `plain`?" in failure.message


async def test_routing_twice_changes_nothing(settings: Settings) -> None:
    catalog = Catalog(settings)
    first = await route(make_event(model="spare"), catalog=catalog)
    assert await route(first.event, catalog=catalog) == first


@pytest.mark.parametrize("late_s", [-1, -1000])
async def test_what_is_overdue_goes_no_further(here: Bench, client: Client, late_s: float) -> None:
    event = await here.accepted("plain")
    overdue = msgspec.structs.replace(event, deadline=clock.now() + late_s, lease=None)
    for outcome in (
        await route(overdue, catalog=here.catalog),
        await gate(overdue, admission=here.admission, catalog=here.catalog),
    ):
        assert isinstance(outcome, Die)
        assert (outcome.failure.status, outcome.failure.code) == (504, "queue_timeout")
        assert outcome.failure.cause == "deadline"
    # The lease with which it had been woken is free again.
    await here.admission.settled()
    assert in_state(client, "lease") == []


async def test_gate_forwards_with_a_lease(here: Bench, client: Client) -> None:
    event = make_event(plan=here.catalog.candidates("spare"))
    outcome = await gate(event, admission=here.admission, catalog=here.catalog)
    assert isinstance(outcome, Forward)
    assert outcome.to == "call"
    assert outcome.event.lease is not None
    assert outcome.event.lease.deployment == "sim/two:error=503"
    assert outcome.facts == {"deployment": "sim/two:error=503", "key": "sim:"}
    assert in_state(client, "lease") == ["1.r1"]


async def test_gate_twice_gives_the_same_lease(here: Bench, client: Client) -> None:
    event = make_event(plan=here.catalog.candidates("plain"))
    first = await gate(event, admission=here.admission, catalog=here.catalog)
    assert await gate(event, admission=here.admission, catalog=here.catalog) == first
    assert in_state(client, "lease") == ["1.r1"]


async def test_gate_lets_wait_where_there_is_no_capacity(here: Bench, client: Client) -> None:
    plan = here.catalog.candidates("plain")
    for n in range(50):
        await gate(make_event(f"r{n}", plan=plan), admission=here.admission, catalog=here.catalog)
    outcome = await gate(
        make_event("late", plan=plan), admission=here.admission, catalog=here.catalog
    )
    assert isinstance(outcome, Wait)
    assert in_state(client, "waiting") == ["1.late"]


async def test_respond_finishes_and_tells_the_usage() -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    event = make_event(usage=usage, finish_reason="stop")
    assert await respond(event) == Finish(event, {"total_tokens": 3})
    assert await respond(make_event()) == Finish(make_event(), {})


async def refused(here: Bench, **changes: object) -> Event:
    """Give an event that the only deployment of its model has refused for 1.5 s."""
    outcome = await call(await here.accepted("busy", **changes), means=here.means)
    assert isinstance(outcome, Forward)
    line = Line(hop="call", start=0, end=0, facts=outcome.facts)
    return written(outcome.event, line)


def with_ladder(here: Bench, *rungs: int) -> Catalog:
    return Catalog(msgspec.structs.replace(here.settings, ladder=rungs))


async def test_who_may_climb_does_not_wait_for_longer_than_a_rung(
    here: Bench, client: Client
) -> None:
    event = await refused(here, patient=True)
    outcome = await gate(event, admission=here.admission, catalog=with_ladder(here, 1, 2, 9))
    assert isinstance(outcome, Climb)
    # 1 is shorter than the provider's hint.
    assert (outcome.rung, outcome.event.climbed, outcome.event.leg) == (2, (2,), 2)
    await here.admission.settled()
    assert not in_state(client, "waiting")


@pytest.mark.parametrize(
    ("changes", "rungs"),
    [({}, (1, 2)), ({"patient": True}, ()), ({"patient": True}, (60,)),
     ({"patient": True, "deadline": 9e9}, (1,))],
    ids=["a client waits", "no ladder", "a short rest", "no rung for the hint"],
)  # fmt: skip
async def test_otherwise_the_waiting_room_is_the_better_place(
    here: Bench, changes: dict[str, object], rungs: tuple[int, ...]
) -> None:
    event = await refused(here, **changes)
    outcome = await gate(event, admission=here.admission, catalog=with_ladder(here, *rungs))
    assert isinstance(outcome, Wait)


async def test_a_rest_beyond_the_last_rung_ends_who_has_no_deadline(here: Bench) -> None:
    event = await refused(here, patient=True)
    outcome = await gate(event, admission=here.admission, catalog=with_ladder(here, 1))
    assert isinstance(outcome, Die)
    assert (outcome.failure.cause, outcome.failure.retry_after_s) == ("rate_limited", 1.5)


async def test_a_plan_that_is_no_longer_possible_is_made_anew(here: Bench) -> None:
    gone = (Candidate(deployment="nobody/gone"),)
    event = rig.make_event("r1", model="plain", plan=gone, leg=2)
    outcome = await gate(event, admission=here.admission, catalog=here.catalog)
    assert isinstance(outcome, Forward)
    assert outcome.event.plan == here.catalog.candidates("plain")
