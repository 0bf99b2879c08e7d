"""The whole path: `Upstream` calls the simulated provider as a Gemini, well and with faults."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from pipeline.errors import Cause, Failure, UpstreamError
from pipeline.event import Operation
from tests.conformance.legal import check_chunks
from tests.providers.gemini.ground import HELLO, Json, call
from tests.providers.simulated_process import SimulatedProcess
from workers.providers.base import Deltas, Reply, Timeouts
from workers.providers.upstream import Upstream

SHORT = Timeouts(connect_s=2, first_byte_s=0.4, idle_s=0.4, total_s=4)
FUNCTION: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    """Run the simulated provider."""
    with SimulatedProcess() as process:
        yield process


class Way:
    """The way to the simulated provider, of which a test asks one call at a time."""

    def __init__(self, simulated: SimulatedProcess) -> None:
        self._base = simulated.url.removesuffix("/v1")

    def whole(self, model: str, operation: Operation = "chat", /, **asked: object) -> Reply:
        """Make a call whose answer comes whole."""

        async def scenario() -> Reply:
            upstream = Upstream()
            try:
                return await upstream.complete(
                    call(
                        model,
                        base_url=self._base,
                        operation=operation,
                        body=msgspec.json.encode({"messages": [HELLO], **asked}),
                        timeout=SHORT,
                    )
                )
            finally:
                await upstream.close()

        return asyncio.run(scenario())

    def stream(self, model: str, **asked: object) -> tuple[list[Deltas], Reply | Failure]:
        """Make a call whose answer comes in deltas; give them and how it ended."""
        body = msgspec.json.encode({"messages": [HELLO], **asked})
        made = call(model, base_url=self._base, body=body, timeout=SHORT, stream=True)

        async def scenario() -> tuple[list[Deltas], Reply | Failure]:
            upstream, given = Upstream(), list[Deltas]()
            stream = upstream.stream(made)
            try:
                async for deltas in stream:
                    given.append(deltas)
                return given, stream.reply()
            except UpstreamError as raised:
                return given, raised.failure()
            finally:
                await upstream.close()

        return asyncio.run(scenario())


@pytest.fixture(scope="module")
def way(simulated: SimulatedProcess) -> Way:
    """Give the way to it."""
    return Way(simulated)


def settled(reply: Reply | Failure) -> dict[str, object]:
    """Give a response without what no two calls have in common."""
    assert isinstance(reply, Reply), reply
    response: dict[str, object] = msgspec.json.decode(reply.response)
    return {**response, "id": "", "created": 0}


def test_an_answer_is_a_completion_of_the_openai_client(way: Way) -> None:
    reply = way.whole("gemini-2.5-flash:tokens=8", max_tokens=100, temperature=1)
    completion = ChatCompletion.model_validate_json(reply.response, strict=True)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == "gemini-2.5-flash:tokens=8"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 8


def test_a_stream_says_what_the_whole_answer_says(way: Way) -> None:
    thinking = {"thinking_config": {"include_thoughts": True}}
    asked: dict[str, object] = {"google": thinking, "max_tokens": 6}
    given, reply = way.stream("gemini-2.5-pro:tps=50", **asked)
    check_chunks(given)
    for deltas in given:
        for chunk in deltas.chunks:
            ChatCompletionChunk.model_validate_json(chunk, strict=True)
    assert settled(reply) == settled(way.whole("gemini-2.5-pro:tps=50", **asked))
    assert isinstance(reply, Reply)
    assert (reply.finish_reason, len(given) > 2) == ("length", True)
    assert reply.usage is not None
    assert reply.usage.reasoning_tokens > 0
    assert b"Simulated thought" in reply.response


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-pro"])
def test_calls_of_functions_go_back_and_forth(way: Way, model: str) -> None:
    asked = {"tools": [FUNCTION], "tool_choice": "required"}
    _, first = way.stream(model, **asked)
    assert isinstance(first, Reply)
    [choice] = msgspec.json.decode(first.response)["choices"]
    [tool_call] = choice["message"]["tool_calls"]
    assert msgspec.json.decode(tool_call["function"]["arguments"]) == {"city": "simulated"}
    result = {"role": "tool", "tool_call_id": tool_call["id"], "content": "sunny"}
    second = way.whole(model, messages=[HELLO, choice["message"], result], tools=[FUNCTION])
    assert second.finish_reason == "stop"


@pytest.mark.parametrize("text", ["one", ["one", "two"]])
def test_embeddings_are_those_of_the_openai_form(
    way: Way, simulated: SimulatedProcess, text: str | list[str]
) -> None:
    asked = {"input": text, "dimensions": 4, "encoding_format": "base64"}
    body = msgspec.json.encode({"model": "e", **asked})
    reply = way.whole("e", "embeddings", messages=None, **asked)
    theirs = simulated.http.post("/v1/embeddings", content=body).json()
    assert msgspec.json.decode(reply.response) == theirs


@pytest.mark.parametrize(
    ("options", "cause", "status"),
    [
        ("error=400", "bad_request", 400),
        ("bad_key=AIza", "credentials", 502),
        ("error=403", "credentials", 502),
        ("error=404", "model_not_found", 404),
        ("error=429", "rate_limited", 429),
        ("quota", "rate_limited", 429),
        ("error=500", "network", 502),
        ("error=503", "overloaded", 503),
        ("error=504", "timeout", 504),
        ("garbage=0", "network", 502),
        ("error_at=0", "network", 502),
        ("cut_at=0", "network", 502),
        ("hang", "timeout", 504),
    ],
)
def test_a_fault_has_its_cause(way: Way, options: str, cause: Cause, status: int) -> None:
    with pytest.raises(UpstreamError) as raised:
        way.whole(f"sim:{options}")
    given, failure = way.stream(f"sim:{options}")
    assert given == []
    assert isinstance(failure, Failure)
    assert (raised.value.cause, raised.value.status) == (cause, status)
    assert failure.cause == cause


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ("cut_at=3", "interrupted"),
        ("error_at=3", "network"),
        ("garbage=3", "network"),
        ("stall_at=3,stall_ms=3000,tps=1000", "timeout"),
    ],
)
def test_a_stream_that_breaks_has_its_cause(way: Way, options: str, cause: Cause) -> None:
    given, failure = way.stream(f"sim:{options}")
    assert given
    assert isinstance(failure, Failure)
    assert failure.cause == cause


def test_a_hint_of_googles_form_tells_when_to_come_back(way: Way) -> None:
    with pytest.raises(UpstreamError) as raised:
        way.whole("sim:error=429,retry_after_ms=1500")
    assert raised.value.failure().retry_after_s == 1.5
    assert raised.value.limited == "requests"


def test_a_spent_quota_of_the_day_ends_with_the_day(way: Way) -> None:
    with pytest.raises(UpstreamError) as raised:
        way.whole("sim:quota")
    assert raised.value.limited == "day"
    assert 0 < raised.value.failure().retry_after_s <= 25 * 3600


@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_with_nothing_in_it_is_marked(way: Way, *, streams: bool) -> None:
    reply = way.stream("sim:empty")[1] if streams else way.whole("sim:empty")
    assert isinstance(reply, Reply)
    assert reply.empty
