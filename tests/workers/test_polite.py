"""Polite answers: what they stand for and what not, whole and as streams, and what is told."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from pipeline import clock
from pipeline.errors import Cancelled, Cause, Failure, QueueTimeout
from pipeline.event import Event, Facts, Line, Summary, Usage
from pipeline.ladder import climb_or_die
from pipeline.outcome import Climb, Die, Finish, Forward, Outcome
from pipeline.settings.load import load
from pipeline.streams.link import Link
from pipeline.summary import summary_of
from tests.providers.simulated_process import SimulatedProcess
from tests.streams import rig
from tests.streams.rig import NAMES, Client
from tests.workers.bench import Bench, bench
from workers.call import call
from workers.gate import gate
from workers.polite import Means, answered
from workers.respond import respond

pytestmark = pytest.mark.anyio

TEXT = "Sorry, nobody can answer now. Please try again in a moment."


@pytest.fixture
async def here(link: Link, tmp_path: Path, provider: SimulatedProcess) -> AsyncIterator[Bench]:
    """Set up a model that is polite, one that climbs first, and one that is not polite."""
    failing = "deployments: [{provider: sim, model: 'four:error=500'}]"
    path = tmp_path / "sluice.yaml"
    path.write_text(f"""
gateway: {{default_model: curt}}
retry: {{quick: 0}}
ladder: []
providers: {{sim: {{kind: simulated, base_url: "{provider.url}"}}}}
models:
  curt: {{{failing}}}
  kind: {{polite: "{TEXT}", {failing}}}
  climbing: {{polite: "{TEXT}", ladder: [60], {failing}}}
  refusing: {{polite: "{TEXT}", deployments: [{{provider: sim, model: "six:error=400"}}]}}
  locked: {{polite: "{TEXT}", deployments: [{{provider: sim, model: "seven:error=401"}}]}}
  cut: {{polite: "{TEXT}", deployments: [{{provider: sim, model: "c:cut_at=2,tokens=9"}}]}}
""")
    async with bench(link, load(path, environ={})) as made:
        yield made


def means_of(here: Bench) -> Means:
    return Means(
        catalog=here.catalog,
        replies=here.means.replies,
        link=here.link,
        counters=NAMES.counters,
    )


async def called(here: Bench, model: str, **changes: object) -> Outcome:
    """Call a model that is there, and be answered politely where that is due."""
    event = await here.accepted(model, **changes)
    return await answered(await call(event, means=here.means), means_of(here))


def failure_of(cause: Cause, code: str, status: int = 503) -> Failure:
    return Failure(message="It failed", cause=cause, code=code, status=status)


def chunks_in(client: Client) -> Sequence[dict[str, object]]:
    """Read the chunks of the reply."""
    lines = [
        line
        for _, fields in client.xrange(NAMES.reply("r1"))
        for line in fields[b"event"].split(b"\n")
    ]
    return [msgspec.json.decode(line) for line in lines]


async def test_a_request_whose_deployments_all_failed_is_answered_with_the_text(
    here: Bench, client: Client
) -> None:
    outcome = await called(here, "kind")
    assert isinstance(outcome, Forward)
    assert outcome.to == "respond"
    event = outcome.event
    assert (event.finish_reason, event.usage, event.failure) == ("stop", Usage(), None)
    whole = ChatCompletion.model_validate_json(outcome.response, strict=True)
    assert whole.choices[0].message.content == TEXT
    assert (whole.model, whole.choices[0].finish_reason) == ("kind", "stop")
    assert whole.usage is not None
    assert whole.usage.total_tokens == 0
    told = msgspec.json.decode(outcome.response)["sluice"]
    assert told["polite"] is True
    assert (told["error"]["code"], told["error"]["status"]) == ("provider_exhausted", 503)
    assert told["error"]["metadata"]["attempts"][0]["deployment"] == "sim/four:error=500"
    assert client.hget(NAMES.counters, "polite") == b"1"


async def test_the_journal_tells_the_failure_and_the_summary_that_it_was_polite(
    here: Bench,
) -> None:
    outcome = await called(here, "kind")
    assert isinstance(outcome, Forward)
    facts = outcome.facts
    assert (facts["polite"], facts["cause"]) == ("provider_exhausted", "network")
    assert str(facts["failure"]).startswith("Every candidate for `kind` failed")
    line = Line(hop="call", start=0, end=1, facts=facts)
    ended = await respond(msgspec.structs.replace(outcome.event, journal=(line,)))
    assert isinstance(ended, Finish)
    summary = summary_of(ended.event)
    assert summary is not None
    assert (summary.polite, summary.attempts) == (True, 1)


@pytest.mark.parametrize("asked", [False, True])
async def test_a_stream_gets_the_text_its_end_and_the_usage_it_asked_for(
    here: Bench, client: Client, *, asked: bool
) -> None:
    outcome = await called(here, "kind", stream=True, include_usage=asked)
    assert isinstance(outcome, Forward)
    assert outcome.event.deltas == 1
    chunks = chunks_in(client)
    read = [ChatCompletionChunk.model_validate(chunk) for chunk in chunks]
    assert sum("sluice" in chunk for chunk in chunks) == 1
    [(_, fields)] = client.xrange(NAMES.reply("r1"))
    assert msgspec.json.decode(fields[b"head"], type=Summary).polite
    with_text = [one for one in read if one.choices and one.choices[0].delta.content]
    assert [one.choices[0].delta.content for one in with_text] == [TEXT]
    assert [one.choices[0].finish_reason for one in read if one.choices][-1] == "stop"
    assert [one.usage.total_tokens for one in read if one.usage] == ([0] if asked else [])
    assert ChatCompletion.model_validate_json(outcome.response).choices[0].message.content == TEXT


async def test_credentials_that_are_all_refused_are_answered_politely(here: Bench) -> None:
    outcome = await called(here, "locked")
    assert isinstance(outcome, Forward)
    while outcome.to == "gate":
        outcome = await gate(outcome.event, admission=here.admission, catalog=here.catalog)
        outcome = await answered(outcome, means_of(here))
        assert isinstance(outcome, Forward)
    assert outcome.facts["polite"] == "upstream_credentials_exhausted"


async def test_a_request_without_time_is_answered_politely_at_the_gate(here: Bench) -> None:
    event = rig.make_event(model="kind", deadline=clock.now() - 1)
    outcome = await gate(event, admission=here.admission, catalog=here.catalog)
    assert isinstance(outcome, Die)
    polite = await answered(outcome, means_of(here))
    assert isinstance(polite, Forward)
    assert (polite.facts["polite"], polite.facts["status"]) == ("queue_timeout", 504)


@pytest.mark.parametrize("model", ["curt", "refusing"])
async def test_models_without_a_text_and_faults_of_the_client_get_their_error(
    here: Bench, client: Client, model: str
) -> None:
    assert isinstance(await called(here, model), Die)
    assert not client.hexists(NAMES.counters, "polite")


async def test_a_stream_that_was_seen_in_part_ends_with_its_error(here: Bench) -> None:
    outcome = await called(here, "cut", stream=True)
    assert isinstance(outcome, Die)
    assert outcome.failure.cause == "interrupted"


async def test_who_can_climb_climbs_first_and_is_answered_politely_at_the_end(
    here: Bench,
) -> None:
    outcome = await called(here, "climbing", patient=True)
    assert isinstance(outcome, Climb)
    last = outcome.failure
    end = Die(outcome.event, failure_of("exhausted", "provider_exhausted"))
    again = climb_or_die(outcome.event, last, end, here.catalog.ladder("climbing"))
    assert isinstance(again, Die)
    assert isinstance(await answered(again, means_of(here)), Forward)


@pytest.mark.parametrize(
    ("failure", "is_polite"),
    [
        (failure_of("exhausted", "provider_exhausted"), True),
        (QueueTimeout("late").failure(), True),
        (failure_of("limited", "deadline_unreachable", 429), True),
        (failure_of("limited", "queue_full"), True),
        (failure_of("limited", "rate_limited", 429), False),
        (failure_of("limited", "no_access", 403), False),
        (failure_of("limited", "request_too_heavy", 413), False),
        (failure_of("bad_request", "invalid_request", 400), False),
        (failure_of("model_not_found", "model_not_found", 404), False),
        (failure_of("interrupted", "stream_interrupted", 502), False),
        (Cancelled("gone").failure(), False),
        (failure_of("bug", "server_error", 500), False),
    ],
)
async def test_only_what_the_client_cannot_mend_is_answered_politely(
    here: Bench, failure: Failure, *, is_polite: bool
) -> None:
    outcome = await answered(Die(rig.make_event(model="kind"), failure), means_of(here))
    assert isinstance(outcome, Forward) == is_polite


_SEEN: Facts = {"first_delta_ms": 3.0, "cause": "network"}


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": "embeddings"},
        {"shadow": True},
        {"deltas": 3},
        {"journal": (Line(hop="call", start=0, end=1, facts=_SEEN),)},
    ],
)
async def test_no_answer_stands_for_embeddings_shadows_or_the_end_of_another(
    here: Bench, changes: dict[str, object]
) -> None:
    event: Event = msgspec.structs.replace(rig.make_event(model="kind"), **changes)
    end = Die(event, failure_of("exhausted", "provider_exhausted"))
    assert await answered(end, means_of(here)) is end


async def test_who_was_cancelled_meanwhile_is_not_answered(here: Bench, client: Client) -> None:
    event = await here.accepted("kind", stream=True)
    client.hset(NAMES.record("r1"), "cancel", "client")
    end = Die(event, failure_of("exhausted", "provider_exhausted"))
    outcome = await answered(end, means_of(here))
    assert isinstance(outcome, Die)
    assert outcome.failure.cause == "cancelled"
    assert not client.hexists(NAMES.counters, "polite")
