"""A stream that was cut goes on where it was cut: at the hop, on a real provider and Redis."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from pipeline.errors import Failure
from pipeline.event import Event, Line, written
from pipeline.outcome import Die, Forward, Outcome
from pipeline.settings.load import load
from pipeline.streams.link import Link
from tests.providers.simulated_process import SimulatedProcess
from tests.streams.rig import NAMES, Client
from tests.workers.bench import Bench, bench
from workers.call import call
from workers.providers.simulated.chat import answer_text

pytestmark = pytest.mark.anyio

#: A provider of each kind that goes on from a beginning, and one that does not.
PROVIDERS: Final[Mapping[str, Mapping[str, object]]] = {
    "sim": {"kind": "simulated"},
    "claude": {"kind": "anthropic", "keys": ["k"]},
    "gem": {"kind": "gemini", "keys": ["k"]},
    "router": {"kind": "openrouter", "keys": ["k"]},
    "own": {"kind": "vllm"},
    "llama": {"kind": "ollama"},
    "mist": {
        "kind": "compatible",
        "keys": ["k"],
        "differs": {"like": "mistral", "include_usage": True},
    },
    "gpt": {"kind": "openai", "keys": ["k"]},
}
GOING_ON: Final = [name for name in PROVIDERS if name != "gpt"]
#: In Anthropic's form only these go on; the others take any name.
NAME: Final = "claude-3-5-haiku-latest"
TOKENS: Final = 22
WHOLE: Final = answer_text("hi", 4 * TOKENS)


def model_of(*deployments: str, on_cut: str = "continue") -> Mapping[str, object]:
    pairs = [one.split("/", 1) for one in deployments]
    return {
        "deployments": [{"provider": name, "model": model} for name, model in pairs],
        "on_cut": on_cut,
    }


def cut(name: str, at: int, more: str = "") -> str:
    return f"{name}/{NAME}:tokens={TOKENS},cut_at={at}{more}"


def full(name: str, more: str = "") -> str:
    return f"{name}/{NAME}:tokens={TOKENS}{more}"


MODELS: Final = {
    **{f"to-{name}": model_of(cut("sim", 5), full(name)) for name in GOING_ON},
    **{f"from-{name}": model_of(cut(name, 7), full("sim")) for name in PROVIDERS},
    "white": model_of(cut("sim", 16), full("claude")),
    "thrice": model_of(cut("sim", 3), cut("claude", 4), full("gem")),
    "nobody": model_of(cut("sim", 5), full("gpt"), on_cut="continue"),
    "refused": model_of(cut("sim", 5), full("llama", ",error=400"), full("gem")),
    "same": model_of(full("sim", ",cut_at=6")),
    "error": model_of(cut("sim", 5), full("sim"), on_cut="error"),
    "whole": model_of(full("sim")),
    "paid": model_of(cut("claude", 5), on_cut="error"),
}


@pytest.fixture
async def here(link: Link, provider: SimulatedProcess, tmp_path: Path) -> AsyncIterator[Bench]:
    """Set up the means of a call."""
    root = provider.url.removesuffix("/v1")
    urls = {"claude": root, "gem": root, "mist": f"{root}/v1"}
    providers = {
        name: {"base_url": urls.get(name, provider.url), **options, "any_model": True}
        for name, options in PROVIDERS.items()
    }
    tree = {
        "providers": providers, "models": MODELS, "retry": {"quick": 0}, "ladder": [],
        "gateway": {"default_model": "to-sim"},
    }  # fmt: skip
    file = tmp_path / "sluice.yaml"
    file.write_text(json.dumps(tree))
    async with bench(link, load(file, environ={})) as made:
        yield made


async def ended(here: Bench, event: Event) -> Outcome:
    """Run the calls of an event, with its ways through the gate, to its end."""
    for _ in range(9):
        outcome = await call(event, means=here.means)
        if not isinstance(outcome, Forward) or outcome.to == "respond":
            return outcome
        line = Line(hop="call", start=0, end=0, facts=outcome.facts)
        event = await here.leased(written(outcome.event, line))
    raise AssertionError("It goes on and on.")


def chunks_of(client: Client) -> list[ChatCompletionChunk]:
    rows = client.xrange(NAMES.reply("r1"))
    lines = [line for _, fields in rows for line in fields[b"event"].split(b"\n")]
    return [ChatCompletionChunk.model_validate_json(line) for line in lines]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


def failure_of(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Die)
    return outcome.failure


@pytest.mark.parametrize(
    "model", [*(f"to-{name}" for name in GOING_ON), *(f"from-{name}" for name in PROVIDERS)]
)
async def test_the_parts_are_one_answer_whoever_goes_on(
    here: Bench, client: Client, model: str
) -> None:
    event = await here.accepted(model, stream=True, include_usage=True)
    outcome = await ended(here, event)
    assert isinstance(outcome, Forward), outcome
    chunks = chunks_of(client)
    assert text_of(chunks) == WHOLE
    assert len({(one.id, one.created, one.model) for one in chunks}) == 1
    roles = [one.choices[0].delta.role for one in chunks if one.choices]
    assert [role for role in roles if role] == ["assistant"]
    reasons = [one.choices[0].finish_reason for one in chunks if one.choices]
    assert [reason for reason in reasons if reason] == ["stop"]
    whole = ChatCompletion.model_validate_json(outcome.response)
    assert whole.choices[0].message.content == WHOLE
    assert whole.id == chunks[0].id
    told, counted = chunks[-1].usage, outcome.event.usage
    assert told
    assert counted
    assert (told.prompt_tokens, told.completion_tokens) == (
        counted.prompt_tokens,
        counted.completion_tokens,
    )
    assert told.completion_tokens == TOKENS
    assert told.total_tokens == counted.total_tokens == told.prompt_tokens + TOKENS


async def test_it_is_one_generation_whose_places_go_on(here: Bench, client: Client) -> None:
    outcome = await ended(here, await here.accepted("thrice", stream=True))
    assert isinstance(outcome, Forward)
    rows = client.xrange(NAMES.reply("r1"))
    entries = [entry.decode().split("-") for entry, _ in rows]
    assert len({generation for generation, _ in entries}) == 1
    assert [int(place) for _, place in entries] == [*range(1, len(entries) + 1)]
    event = outcome.event
    assert (event.attempts, event.deltas) == (3, len(entries))
    assert int(entries[0][0]) % 1_000_000_000 == event.generation
    assert text_of(chunks_of(client)) == WHOLE


async def test_the_journal_tells_who_went_on_and_with_how_much(here: Bench) -> None:
    outcome = await ended(here, await here.accepted("thrice", stream=True))
    assert isinstance(outcome, Forward)
    first, second = (line.facts for line in outcome.event.journal)
    ids = [str(facts["deployment"]) for facts in (first, second, outcome.facts)]
    assert [one.split("/")[0] for one in ids] == ["sim", "claude", "gem"]
    assert (first["cut_after"], second["continued"], second["said"]) == (3, ids[0], 3)
    assert (second["cut_after"], outcome.facts["continued"]) == (4, ids[1])
    assert outcome.facts["said"] == 7


async def test_white_space_at_the_cut_is_not_doubled(here: Bench, client: Client) -> None:
    # The beginning ends in a space, which Anthropic is not shown.
    assert WHOLE[: 16 * 4].endswith(" ")
    assert isinstance(await ended(here, await here.accepted("white", stream=True)), Forward)
    assert text_of(chunks_of(client)) == WHOLE


async def test_one_that_refuses_to_go_on_is_passed_over(here: Bench, client: Client) -> None:
    outcome = await ended(here, await here.accepted("refused", stream=True))
    assert isinstance(outcome, Forward)
    assert text_of(chunks_of(client)) == WHOLE
    assert outcome.event.attempts == 3


@pytest.mark.parametrize("model", ["nobody", "error", "same"])
async def test_where_nobody_goes_on_the_stream_is_interrupted(here: Bench, model: str) -> None:
    outcome = await ended(here, await here.accepted(model, stream=True))
    failure = failure_of(outcome)
    assert (failure.code, failure.status) == ("stream_interrupted", 502)
    assert outcome.event.attempts == 1
    assert outcome.event.deltas


async def test_a_body_without_a_stream_is_asked_anew(here: Bench) -> None:
    outcome = await ended(here, await here.accepted("to-sim"))
    assert isinstance(outcome, Forward)
    assert ChatCompletion.model_validate_json(outcome.response).choices[0].message.content == WHOLE


def with_body(event: Event, **fields: object) -> Event:
    body = msgspec.json.encode({**msgspec.json.decode(event.body), **fields})
    return msgspec.structs.replace(event, body=msgspec.Raw(body), body_bytes=len(body))


async def test_the_most_tokens_hold_for_all_parts(here: Bench, client: Client) -> None:
    event = with_body(await here.accepted("to-sim", stream=True), max_tokens=12)
    outcome = await ended(here, event)
    assert isinstance(outcome, Forward)
    assert outcome.event.finish_reason == "length"
    assert len(text_of(chunks_of(client))) == 48


_SCHEMA: Final = {
    "type": "object", "required": ["long"], "properties": {"long": {"type": "string"}},
}  # fmt: skip
_TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}


@pytest.mark.parametrize("fields", [{"n": 2}, {"tools": [_TOOL], "tool_choice": "required"}])
async def test_what_is_more_than_one_text_is_not_gone_on_with(
    here: Bench, fields: Mapping[str, object]
) -> None:
    event = with_body(await here.accepted("to-sim", stream=True), **fields)
    assert failure_of(await ended(here, event)).code == "stream_interrupted"


async def test_a_call_whose_worker_died_goes_on_from_what_it_left(
    here: Bench, client: Client
) -> None:
    event = await here.accepted("to-sim", stream=True, include_usage=True)
    await call(event, means=here.means)
    await here.admission.settled()
    # Of that call's end nobody has heard: its entry is claimed, with the lease that it had.
    event = await here.leased(msgspec.structs.replace(event, delivery=2, plan=event.plan[1:]))
    outcome = await ended(here, event)
    assert isinstance(outcome, Forward)
    assert text_of(chunks_of(client)) == WHOLE
    usage = outcome.event.usage
    assert usage
    assert usage.completion_tokens == TOKENS


@pytest.mark.parametrize(("model", "attempts"), [("nobody", 0), ("from-gpt", 1)])
async def test_who_cannot_go_on_after_a_death_leaves_it_to_others_or_begins_anew(
    here: Bench, client: Client, model: str, attempts: int
) -> None:
    event = await here.accepted(model, stream=True)
    await call(event, means=here.means)
    await here.admission.settled()
    plan = event.plan if attempts else event.plan[1:]
    event = await here.leased(msgspec.structs.replace(event, delivery=2, plan=plan))
    outcome = await call(event, means=here.means)
    assert isinstance(outcome, Forward)
    assert outcome.to == ("gate" if attempts else "respond")
    if attempts:
        assert outcome.facts == {"lease": "cannot go on"}
        outcome = await ended(here, await here.leased(outcome.event))
        assert isinstance(outcome, Forward)
        assert text_of(chunks_of(client)) == WHOLE
    generations = {entry.split(b"-")[0] for entry, _ in client.xrange(NAMES.reply("r1"))}
    assert len(generations) == 2 - attempts


async def test_the_parts_are_charged_each_at_its_price(here: Bench) -> None:
    event = await here.accepted("to-claude", stream=True)
    outcome = await ended(here, event)
    assert isinstance(outcome, Forward)
    assert outcome.event.usage
    assert outcome.event.usage.cost
    assert outcome.event.cost == pytest.approx(outcome.event.usage.cost)


async def test_what_was_cut_for_good_is_charged(here: Bench) -> None:
    outcome = await ended(here, await here.accepted("paid", stream=True))
    assert failure_of(outcome).code == "stream_interrupted"
    assert outcome.event.cost > 0
    assert outcome.facts["cost"] == outcome.event.cost


@pytest.mark.parametrize("usage", [False, True])
async def test_an_answer_that_stands_whole_needs_no_further_call(
    here: Bench, client: Client, *, usage: bool
) -> None:
    event = await here.accepted("whole", stream=True, include_usage=usage)
    first = await call(event, means=here.means)
    assert isinstance(first, Forward)
    await here.admission.settled()
    before = chunks_of(client)
    event = await here.leased(msgspec.structs.replace(event, delivery=2))
    outcome = await call(event, means=here.means)
    assert isinstance(outcome, Forward)
    assert outcome.to == "respond"
    assert "call_ms" not in outcome.facts
    assert chunks_of(client) == before
    whole = ChatCompletion.model_validate_json(outcome.response)
    assert whole.choices[0].message.content == WHOLE
    assert (outcome.event.finish_reason, outcome.event.deltas) == ("stop", first.event.deltas)
    assert outcome.event.usage
    assert outcome.event.usage.completion_tokens == TOKENS


async def test_usage_that_was_not_told_yet_is_told_at_last(here: Bench, client: Client) -> None:
    event = await here.accepted("whole", stream=True)
    await call(event, means=here.means)
    await here.admission.settled()
    event = await here.leased(msgspec.structs.replace(event, delivery=2, include_usage=True))
    outcome = await call(event, means=here.means)
    assert isinstance(outcome, Forward)
    *_, last = chunks_of(client)
    assert last.usage
    assert last.usage.completion_tokens == TOKENS
    assert outcome.event.deltas == client.xlen(NAMES.reply("r1"))
