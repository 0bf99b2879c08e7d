"""Limits seen in any headers at all, and carried through real calls."""

import asyncio
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UpstreamError
from pipeline.limits.seen import Seen
from tests.providers.served import Connection, served
from tests.providers.shapes import DONE, WHOLE, error, frame
from tests.providers.simulated_process import SimulatedProcess
from workers.providers.base import ProviderCall, Reply, Timeouts
from workers.providers.hints import retry_after_s
from workers.providers.learning import seen, seen_in_error
from workers.providers.upstream import Upstream

KINDS = [
    "openai", "azure", "anthropic", "gemini", "openrouter", "compatible", "vllm", "ollama",
    "simulated", "unheard-of",
]  # fmt: skip
NUMBERS = st.one_of(
    st.text(),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"[0-9.]{1,30}(ms|s|m|h|d)[0-9smh]{0,5}", fullmatch=True),
    st.datetimes().map(lambda point: f"{point.isoformat()}Z"),
    st.datetimes().map(lambda point: f"{point.isoformat()}+23:59"),
)
NAMES = st.sampled_from(
    [
        f"{start}-ratelimit-{name}"
        for start in ("x", "anthropic")
        for unit in ("requests", "tokens", "input-tokens")
        for part in ("limit", "remaining", "reset")
        for name in (f"{part}-{unit}", f"{unit}-{part}", part)
    ]
    + ["retry-after", "retry-after-ms", "date"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "details",
                    "violations",
                    "quotaId",
                    "quotaValue",
                    "retryDelay",
                    "headers",
                    "metadata",
                ]
            )
            | NAMES,
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ERRORS = st.dictionaries(st.sampled_from(["details", "metadata", "type", "status"]), JSON)


@given(kind=st.sampled_from(KINDS), headers=st.dictionaries(NAMES, NUMBERS), error=ERRORS)
def test_no_header_and_no_error_raises(
    kind: str, headers: dict[str, str], error: dict[str, object]
) -> None:
    found, _ = seen_in_error(kind, 429, headers, error)
    assert retry_after_s(headers, error) >= 0
    for one in found:
        assert one.limit >= 0
        assert one.remaining >= -1
        assert one.reset_ms >= -1
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Seen) == one


@given(kind=st.sampled_from(KINDS), raw=st.lists(st.tuples(NAMES, st.binary())))
def test_no_bytes_of_a_header_raise(kind: str, raw: list[tuple[str, bytes]]) -> None:
    seen(kind, httpx.Headers([(name.encode(), text) for name, text in raw]))


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess("tokens=8") as process:
        yield process


def called(process: SimulatedProcess, *, stream: bool, key: str, **options: object) -> Reply:
    """Call the simulated provider with the options."""
    body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], "simulate": options}
    call = ProviderCall(
        request_id="r1",
        base_url=process.url,
        kind="simulated",
        model="fast",
        key=key,
        body=msgspec.json.encode(body),
        stream=stream,
        timeout=Timeouts(connect_s=2, first_byte_s=2, idle_s=2, total_s=5),
    )

    async def made() -> Reply:
        upstream = Upstream()
        try:
            if not stream:
                return await upstream.complete(call)
            deltas = upstream.stream(call)
            async for _ in deltas:
                pass
            return deltas.reply()
        finally:
            await upstream.close()

    return asyncio.run(made())


def refusal(process: SimulatedProcess, *, stream: bool, key: str, **limits: int) -> UpstreamError:
    """Call until the provider refuses."""
    for _ in range(5):
        try:
            called(process, stream=stream, key=key, **limits)
        except UpstreamError as raised:
            return raised
    raise AssertionError("never refused")


@pytest.mark.parametrize("stream", [True, False])
def test_whole_answers_and_streams_carry_what_the_provider_said(
    simulated: SimulatedProcess, *, stream: bool
) -> None:
    reply = called(simulated, stream=stream, key=f"carry-{stream}", rpm=60, tpm=60_000)
    requests, tokens = reply.seen
    assert (requests.dimension, requests.limit, requests.remaining) == ("rpm", 60, 59)
    assert 900 <= requests.reset_ms <= 1000
    assert (tokens.dimension, tokens.limit) == ("tpm", 60_000)
    assert tokens.remaining < 60_000


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_carries_what_the_provider_said_and_which_limit_it_was(
    simulated: SimulatedProcess, *, stream: bool
) -> None:
    for limits, limited, dimension in (
        ({"rpm": 1}, "requests", "rpm"),
        ({"rpm": 600, "tpm": 30}, "tokens", "tpm"),
    ):
        key = f"refuse-{stream}-{limited}"
        refused = refusal(simulated, stream=stream, key=key, **limits)
        assert (refused.cause, refused.limited, refused.sent) == ("rate_limited", limited, True)
        assert dimension in [one.dimension for one in refused.seen]


def test_an_error_in_a_stream_carries_what_its_head_said() -> None:
    told = error(code=429, type="tokens", message="Slow.")

    async def script(here: Connection) -> None:
        await here.begin(x_ratelimit_limit_tokens="90", x_ratelimit_remaining_tokens="0")
        await here.piece(frame(told) + DONE)
        await here.piece(b"")

    async def run() -> UpstreamError:
        async with served(script) as here, here.upstream.stream(here.call(stream=True)) as stream:
            with pytest.raises(UpstreamError) as raised:
                await anext(stream)
            return raised.value

    found = asyncio.run(run())
    assert (found.cause, found.limited) == ("rate_limited", "tokens")
    assert found.seen == (Seen("tpm", 90, 0, -1),)


def test_an_answer_without_such_headers_says_nothing() -> None:
    async def run() -> Reply:
        async with served(lambda here: here.answer(200, WHOLE)) as here:
            return await here.upstream.complete(here.call())

    assert asyncio.run(run()).seen == ()


def test_a_refused_connection_was_never_sent() -> None:
    async def run() -> UpstreamError:
        async with served(lambda here: here.answer(200, WHOLE)) as here:
            call = here.call(base_url="http://127.0.0.1:1/v1")
            with pytest.raises(UpstreamError) as raised:
                await here.upstream.complete(call)
            return raised.value

    error = asyncio.run(run())
    assert (error.cause, error.sent) == ("network", False)
