"""The whole path: our calls of the simulated provider as Anthropic, answers, streams and faults."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from pipeline.errors import Cause, UpstreamError
from pipeline.limits.seen import Seen
from tests.conformance.legal import check_chunks
from tests.providers.anthropic.translated import HI, Fields, call_of
from tests.providers.simulated_process import SimulatedProcess
from workers.providers.base import Deltas, ProviderCall, Reply, Timeouts
from workers.providers.upstream import Upstream

TOOL: Fields = {"type": "function", "function": {"name": "f"}}
SHORT = Timeouts(connect_s=2, first_byte_s=0.5, idle_s=0.5, total_s=4)


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess() as process:
        yield process


class Made(msgspec.Struct):
    """What came of a call."""

    reply: Reply
    deltas: list[Deltas]


def make(simulated: SimulatedProcess, options: str, **changes: object) -> Made:
    """Make a call whose model's name holds the simulation's options."""
    stream, model = changes.pop("stream", False), changes.pop("model", "sim")
    call = call_of(
        {"model": "fast", "messages": HI, **changes},
        base_url=simulated.url.removesuffix("/v1"),
        model=f"{model}:{options}",
        key="path",
        stream=stream,
        timeout=SHORT,
    )
    return asyncio.run(_made(call))


async def _made(call: ProviderCall) -> Made:
    upstream = Upstream()
    try:
        if not call.stream:
            return Made(await upstream.complete(call), [])
        stream = upstream.stream(call)
        deltas = [given async for given in stream]
        return Made(stream.reply(), deltas)
    finally:
        await upstream.close()


def failure_of(simulated: SimulatedProcess, options: str, **changes: object) -> UpstreamError:
    """Make a call that is to fail."""
    with pytest.raises(UpstreamError) as raised:
        make(simulated, options, **changes)
    return raised.value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "finish"),
    [
        ({}, "stop"),
        ({"max_tokens": 3}, "length"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_calls"),
        ({"reasoning_effort": "high"}, "stop"),
        ({"messages": [{"role": "system", "content": "Be brief."}, *HI]}, "stop"),
        ({"temperature": 0, "top_p": 0.5, "stop": "x", "user": "u"}, "stop"),
    ],
    ids=str,
)
def test_an_answer_is_one_of_openais(
    simulated: SimulatedProcess, asked: Fields, finish: str, stream: bool
) -> None:
    made = make(simulated, "tokens=6", stream=stream, **asked)
    whole = ChatCompletion.model_validate_json(made.reply.response, strict=True)
    [choice] = whole.choices
    assert choice.finish_reason == made.reply.finish_reason == finish
    assert whole.id == made.reply.upstream_id
    assert made.reply.usage is not None
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == made.reply.usage.prompt_tokens > 0
    if finish == "tool_calls":
        assert choice.message.tool_calls is not None
        assert choice.message.tool_calls[0].type == "function"
        arguments = choice.message.tool_calls[0].function.arguments
        assert set(msgspec.json.decode(arguments)) == {"text"}
    else:
        assert choice.message.content
    if stream:
        check_chunks(made.deltas)
        for deltas in made.deltas:
            for chunk in deltas.chunks:
                ChatCompletionChunk.model_validate_json(chunk, strict=True)


def test_the_same_answer_comes_whole_and_in_deltas(simulated: SimulatedProcess) -> None:
    asked: Fields = {"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"}
    replies = [make(simulated, "tokens=6", stream=way, **asked).reply for way in (False, True)]
    messages = [msgspec.json.decode(reply.response)["choices"][0]["message"] for reply in replies]
    for message in messages:
        message["tool_calls"][0].pop("id")
    assert messages[0] == messages[1]
    assert replies[0].usage == replies[1].usage


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ("error=400", "bad_request"),
        ("error=401", "credentials"),
        ("error=404", "model_not_found"),
        ("error=429,retry_after_ms=1500", "rate_limited"),
        ("error=500", "network"),
        ("error=529", "overloaded"),
        ("quota", "credentials"),
        ("bad_key=path", "credentials"),
        ("hang", "timeout"),
    ],
)
def test_a_fault_has_its_cause(
    simulated: SimulatedProcess, options: str, cause: Cause, stream: bool
) -> None:
    failure = failure_of(simulated, options, stream=stream).failure()
    assert failure.cause == cause
    if "retry_after_ms" in options:
        assert failure.retry_after_s == 1.5


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ("tokens=9,cut_at=4", "interrupted"),
        ("tokens=9,cut_at=0", "network"),
        ("tokens=9,error_at=4", "network"),
        ("tokens=9,garbage=4", "network"),
        ("tokens=9,stall_at=4,stall_ms=3000", "timeout"),
    ],
)
def test_a_stream_that_breaks_has_its_cause(
    simulated: SimulatedProcess, options: str, cause: Cause
) -> None:
    assert failure_of(simulated, options, stream=True).failure().cause == cause


@pytest.mark.parametrize("options", ["cut_at=4", "garbage=0", "error_at=0"])
def test_a_whole_answer_that_breaks_is_a_failure(simulated: SimulatedProcess, options: str) -> None:
    assert failure_of(simulated, options).failure().cause == "network"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_with_nothing_in_it_is_marked(simulated: SimulatedProcess, stream: bool) -> None:
    assert make(simulated, "empty", stream=stream).reply.empty


def test_limits_are_learned_from_any_answer(simulated: SimulatedProcess) -> None:
    seen = make(simulated, "rpm=60,tpm=60000").reply.seen
    assert {(one.dimension, one.limit) for one in seen} == {("rpm", 60), ("tpm", 60_000)}
    assert all(isinstance(one, Seen) for one in seen)


def test_a_begun_answer_is_sent_as_such(simulated: SimulatedProcess) -> None:
    begun = [*HI, {"role": "assistant", "content": "One, two, "}]
    made = make(simulated, "tokens=2", messages=begun, model="claude-3-haiku")
    assert made.reply.finish_reason == "stop"


def test_a_begun_answer_is_refused_by_a_newer_model(simulated: SimulatedProcess) -> None:
    begun = [*HI, {"role": "assistant", "content": "One, two, "}]
    with pytest.raises(UpstreamError, match="prefill"):
        make(simulated, "tokens=2", messages=begun, model="claude-opus-4-6")


def test_simulated_calls_are_counted_by_our_request_id(simulated: SimulatedProcess) -> None:
    simulated.http.delete("/calls")
    make(simulated, "tokens=2")
    failure_of(simulated, "error_first=2")
    counts = msgspec.json.decode(simulated.http.get("/calls").content)
    assert counts["ids"] == {"r1": 2}
