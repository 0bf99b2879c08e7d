"""call: each way it may end, on a real provider and a real Redis."""

import asyncio

import msgspec
import pytest

from pipeline import clock
from pipeline.errors import Failure
from pipeline.event import NO_BODY, Event, Line, written
from pipeline.limits.tickets import Waiting
from pipeline.outcome import Die, Forward, Outcome
from pipeline.streams.inbox import TURN
from tests.limits.rooms import advance, in_state
from tests.providers.simulated_process import SimulatedProcess
from tests.streams import rig
from tests.streams.rig import NAMES, Client
from tests.workers.bench import MODELS, Bench
from workers.call import call
from workers.gate import gate
from workers.remedy import MAX_LIMITED

pytestmark = pytest.mark.anyio


def reply_of(client: Client) -> list[tuple[int, int, list[dict[str, object]]]]:
    """Read the reply: generation, place and chunks of each entry."""
    rows = []
    for entry, fields in client.xrange(NAMES.reply("r1")):
        generation, place = map(int, entry.split(b"-"))
        chunks = [msgspec.json.decode(line) for line in fields[b"event"].split(b"\n")]
        rows.append((generation % TURN, place, chunks))
    return rows


def died(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Die)
    return outcome.failure


async def nothing_held(here: Bench, client: Client) -> bool:
    await here.admission.settled()
    return not in_state(client, "lease")


async def test_an_answer_goes_to_respond_with_the_whole_response(
    here: Bench, client: Client
) -> None:
    outcome = await call(await here.accepted("plain"), means=here.means)
    assert isinstance(outcome, Forward)
    assert outcome.to == "respond"
    event = outcome.event
    assert (event.attempts, event.deltas, event.finish_reason) == (1, 0, "stop")
    assert event.usage is not None
    assert event.usage.completion_tokens == 3
    response = msgspec.json.decode(outcome.response)
    assert response["object"] == "chat.completion"
    assert outcome.facts["status"] == 200
    assert outcome.facts["deployment"] == "sim/one:tokens=3"
    assert outcome.facts["upstream_id"] == response["id"]
    assert reply_of(client) == []
    assert await nothing_held(here, client)


@pytest.mark.parametrize("asked", [False, True])
async def test_a_stream_writes_its_deltas_and_usage_to_who_asked_for_it(
    here: Bench, client: Client, *, asked: bool
) -> None:
    event = await here.accepted("plain", stream=True, include_usage=asked)
    outcome = await call(event, means=here.means)
    assert isinstance(outcome, Forward)
    rows = reply_of(client)
    assert [row[:2] for row in rows] == [
        (outcome.event.generation, place) for place in range(1, outcome.event.deltas + 1)
    ]
    chunks = [chunk for _, _, chunks in rows for chunk in chunks]
    assert sum(chunk.get("choices") == [] for chunk in chunks) == asked
    assert outcome.event.usage is not None
    assert msgspec.json.decode(outcome.response)["object"] == "chat.completion"
    assert outcome.facts["first_delta_ms"]
    assert await nothing_held(here, client)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_deployment_sends_back_to_the_gate_for_the_next(
    here: Bench, client: Client, *, stream: bool
) -> None:
    event = await here.accepted("spare", stream=stream)
    outcome = await call(event, means=here.means)
    assert isinstance(outcome, Forward)
    assert outcome.to == "gate"
    assert outcome.event.tried == (f"sim/{MODELS['spare'][0]}",)
    assert outcome.event.lease is None
    assert outcome.facts["cause"] == "overloaded"
    assert await nothing_held(here, client)
    assert reply_of(client) == []
    again = await call(await here.leased(outcome.event), means=here.means)
    assert isinstance(again, Forward)
    assert again.to == "respond"
    assert again.event.failure is None
    assert again.event.attempts == 2
    assert again.event.generation > outcome.event.generation


async def test_a_deployment_that_is_over_its_rate_is_asked_again_when_it_has_rested(
    here: Bench, client: Client
) -> None:
    event = await here.accepted("busy")
    for _ in range(MAX_LIMITED - 1):
        outcome = await call(event, means=here.means)
        assert isinstance(outcome, Forward)
        assert (outcome.to, outcome.event.tried) == ("gate", ())
        verdict = await here.admission.admit(outcome.event)
        assert isinstance(verdict, Waiting)
        line = Line(hop="call", start=0, end=0, facts=outcome.facts)
        advance(client, 2)
        await here.admission.sweep()
        event = await here.leased(written(outcome.event, line))
    assert died(await call(event, means=here.means)).code == "provider_exhausted"


async def test_when_every_candidate_failed_the_client_is_told_the_last_reason(
    here: Bench, client: Client
) -> None:
    first = await call(await here.accepted("broken"), means=here.means)
    assert isinstance(first, Forward)
    line = Line(hop="call", start=0, end=0, facts=first.facts)
    failure = died(await call(await here.leased(written(first.event, line)), means=here.means))
    assert (failure.status, failure.code, failure.cause) == (503, "provider_exhausted", "exhausted")
    attempts = failure.metadata["attempts"]
    assert isinstance(attempts, list)
    assert [one.deployment for one in attempts] == failure.metadata["tried"]
    assert failure.metadata["tried"] == [f"sim/{model}" for model in MODELS["broken"]]
    last = failure.metadata["last"]
    assert isinstance(last, dict)
    assert last["cause"] == "overloaded"
    assert await nothing_held(here, client)


async def test_refused_keys_alone_are_told_as_such(here: Bench) -> None:
    outcome = await call(await here.accepted("locked"), means=here.means)
    assert isinstance(outcome, Forward)
    failure = died(await gate(outcome.event, admission=here.admission, catalog=here.catalog))
    assert failure.metadata["last"] == {
        "cause": "credentials",
        "status": 502,
        "code": "upstream_credentials",
    }
    assert (failure.status, failure.code) == (502, "upstream_credentials_exhausted")


async def test_a_request_that_the_provider_refuses_is_not_tried_elsewhere(
    here: Bench, client: Client
) -> None:
    failure = died(await call(await here.accepted("refusing"), means=here.means))
    assert (failure.status, failure.cause) == (400, "bad_request")
    assert await nothing_held(here, client)


async def test_a_stream_that_is_cut_after_deltas_is_not_begun_elsewhere(
    here: Bench, client: Client
) -> None:
    outcome = await call(await here.accepted("cut", stream=True), means=here.means)
    failure = died(outcome)
    assert (failure.status, failure.code, failure.cause) == (
        502,
        "stream_interrupted",
        "interrupted",
    )
    assert outcome.event.deltas == len(reply_of(client)) > 0
    assert await nothing_held(here, client)


async def test_a_cancelled_stream_ends(here: Bench, client: Client) -> None:
    event = await here.accepted("long", stream=True)
    running = asyncio.create_task(call(event, means=here.means))
    await rig.until(lambda: client.xlen(NAMES.reply("r1")))
    client.hset(NAMES.record("r1"), "cancel", "1")
    failure = died(await asyncio.wait_for(running, 3))
    assert (failure.code, failure.cause) == ("cancelled", "cancelled")
    assert await nothing_held(here, client)


async def test_a_request_cancelled_before_its_call_is_not_called(
    here: Bench, client: Client, provider: SimulatedProcess
) -> None:
    event = await here.accepted("plain")
    client.hset(NAMES.record("r1"), "cancel", "1")
    before = provider.counts()
    assert died(await call(event, means=here.means)).cause == "cancelled"
    assert provider.counts() == before
    assert await nothing_held(here, client)


async def test_an_overdue_request_is_not_called(here: Bench, client: Client) -> None:
    event = await here.accepted("plain")
    late = msgspec.structs.replace(event, deadline=clock.now() - 1)
    assert died(await call(late, means=here.means)).code == "queue_timeout"
    assert await nothing_held(here, client)


async def test_a_large_body_is_fetched_for_the_call(here: Bench) -> None:
    event = await here.accepted("plain")
    here.bodies["r1"] = bytes(event.body)
    outcome = await call(msgspec.structs.replace(event, body=NO_BODY), means=here.means)
    assert isinstance(outcome, Forward)
    assert outcome.to == "respond"


async def test_a_large_body_that_is_gone_ends_the_request(here: Bench, client: Client) -> None:
    event = msgspec.structs.replace(await here.accepted("plain"), body=NO_BODY)
    failure = died(await call(event, means=here.means))
    assert (failure.status, failure.code) == (500, "body_lost")
    assert await nothing_held(here, client)


async def test_a_call_that_is_run_again_shuts_out_the_first(here: Bench, client: Client) -> None:
    event = await here.accepted("long", stream=True)
    first = asyncio.create_task(call(event, means=here.means))
    await rig.until(lambda: client.xlen(NAMES.reply("r1")))
    again: Event = msgspec.structs.replace(event, delivery=2)
    second = asyncio.create_task(call(again, means=here.means))
    await asyncio.wait_for(first, 5)
    generations = [generation for generation, _, _ in reply_of(client)]
    assert generations == sorted(generations)
    assert set(generations) == {event.next_generation, again.next_generation}
    # The first one's late end leaves the lease to the call that is under way.
    assert in_state(client, "lease") == ["1.r1"]
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_a_call_that_is_given_up_leaves_its_lease_to_the_claimer(
    here: Bench, client: Client
) -> None:
    event = await here.accepted("long", stream=True)
    running = asyncio.create_task(call(event, means=here.means))
    await rig.until(lambda: client.xlen(NAMES.reply("r1")))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert in_state(client, "lease") == ["1.r1"]
