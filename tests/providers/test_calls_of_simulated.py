"""Calls of the simulated provider, in a process of its own."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from pipeline.errors import Cause, Failure, UpstreamError
from tests.providers.simulated_process import SimulatedProcess
from workers.providers.base import ProviderCall, Reply, Timeouts
from workers.providers.upstream import Upstream


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess("tokens=8") as process:
        yield process


def call_of(process: SimulatedProcess, *, stream: bool, **options: object) -> ProviderCall:
    """Make a call that is to go as the options say."""
    body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], "simulate": options}
    return ProviderCall(
        request_id="r1",
        base_url=process.url,
        kind="simulated",
        model="fast",
        key="k-simulated",
        body=msgspec.json.encode(body),
        stream=stream,
        timeout=Timeouts(connect_s=2, first_byte_s=2, idle_s=0.4, total_s=5),
    )


async def made(call: ProviderCall) -> Reply:
    """Make a call, as a stream where it is one."""
    upstream = Upstream()
    try:
        if not call.stream:
            return await upstream.complete(call)
        stream = upstream.stream(call)
        async for _ in stream:
            pass
        return stream.reply()
    finally:
        await upstream.close()


def failure_of(call: ProviderCall) -> Failure:
    """Make a call that is to fail."""
    with pytest.raises(UpstreamError) as raised:
        asyncio.run(made(call))
    return raised.value.failure()


def test_a_stream_assembles_to_what_a_whole_answer_says(simulated: SimulatedProcess) -> None:
    def content(reply: Reply) -> object:
        return msgspec.json.decode(reply.response)["choices"]

    whole = asyncio.run(made(call_of(simulated, stream=False)))
    streamed = asyncio.run(made(call_of(simulated, stream=True)))
    assert content(whole) == content(streamed)
    assert whole.usage == streamed.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    assert (whole.finish_reason, whole.model) == (streamed.finish_reason, streamed.model)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"error": 400}, "bad_request"),
        ({"error": 401}, "credentials"),
        ({"error": 404}, "model_not_found"),
        ({"error": 429}, "rate_limited"),
        ({"error": 500}, "network"),
        ({"error": 503}, "overloaded"),
        ({"cut_at": 0}, "network"),
        ({"hang": True}, "timeout"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_each_error_has_its_cause(
    simulated: SimulatedProcess, options: dict[str, object], cause: Cause, *, stream: bool
) -> None:
    call = call_of(simulated, stream=stream, **options)
    short = msgspec.structs.replace(call.timeout, first_byte_s=0.3)
    assert failure_of(msgspec.structs.replace(call, timeout=short)).cause == cause


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"cut_at": 3}, "interrupted"),
        ({"garbage": 3}, "network"),
        ({"error_at": 3}, "network"),
        ({"stall_at": 3, "stall_ms": 10_000}, "timeout"),
    ],
)
def test_each_fault_of_a_stream_has_its_cause(
    simulated: SimulatedProcess, options: dict[str, object], cause: Cause
) -> None:
    assert failure_of(call_of(simulated, stream=True, **options)).cause == cause


@pytest.mark.parametrize("stream", [True, False])
def test_an_empty_answer_is_told_as_empty(simulated: SimulatedProcess, *, stream: bool) -> None:
    assert asyncio.run(made(call_of(simulated, stream=stream, empty=True))).empty


def test_a_server_without_tls_fails_with_the_network(simulated: SimulatedProcess) -> None:
    url = simulated.url.replace("http:", "https:")
    call = msgspec.structs.replace(call_of(simulated, stream=False), base_url=url)
    assert failure_of(call).cause == "network"


def test_the_hint_of_a_limit_is_read(simulated: SimulatedProcess) -> None:
    call = call_of(simulated, stream=False, rpm=1)
    first = asyncio.run(made(call))
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    failure = failure_of(call)
    assert failure.cause == "rate_limited"
    assert 50 < failure.retry_after_s <= 60


def test_embeddings_come_in_the_encoding_asked_for(simulated: SimulatedProcess) -> None:
    body = b'{"model":"x","input":["a","b"],"encoding_format":"base64"}'
    call = msgspec.structs.replace(
        call_of(simulated, stream=False), operation="embeddings", body=body
    )
    reply = asyncio.run(made(call))
    data = msgspec.json.decode(reply.response)["data"]
    assert [type(item["embedding"]) for item in data] == [str, str]
    assert reply.usage is not None
