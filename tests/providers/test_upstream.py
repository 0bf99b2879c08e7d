"""Whole answers: what is sent, what comes back, and how a call fails."""

import asyncio
import gzip

import msgspec
import pytest

from pipeline.errors import Cause, Failure, UpstreamError
from pipeline.event import Usage
from tests.providers.served import BODY, KEY, Connection, Script, Served, served
from tests.providers.shapes import WHOLE, error
from workers.providers.base import ProviderCall, Reply
from workers.providers.openai import OWN_FIELDS
from workers.providers.upstream import Upstream


def complete(script: Script, **changes: object) -> tuple[Reply, Served]:
    """Make one call of an upstream that does as the script says."""

    async def scenario() -> tuple[Reply, Served]:
        async with served(script) as here:
            return await here.upstream.complete(here.call(**changes)), here

    return asyncio.run(scenario())


def failure_of(script: Script, **changes: object) -> Failure:
    """Make one call that is to fail."""
    with pytest.raises(UpstreamError) as raised:
        complete(script, **changes)
    return raised.value.failure()


def answering(status: int, body: bytes, **headers: str) -> Script:
    """Make a script that gives one answer."""

    async def script(connection: Connection) -> None:
        await connection.answer(status, body, **headers)

    return script


async def whole(connection: Connection) -> None:
    """Give a completion."""
    await connection.answer(200, WHOLE, x_request_id="req_1", x_ratelimit_limit_requests="60")


def test_a_whole_answer_comes_back_as_it_is() -> None:
    reply, _ = complete(whole)
    assert reply.response == WHOLE
    assert reply.usage == Usage(prompt_tokens=9, completion_tokens=1, total_tokens=10)
    assert (reply.finish_reason, reply.model, reply.upstream_id) == (
        "stop",
        "m-1-2024",
        "chatcmpl-1",
    )
    assert reply.headers["x-ratelimit-limit-requests"] == "60"


def test_the_request_carries_the_usual_headers_and_no_others() -> None:
    _, here = complete(whole)
    [request] = here.requests
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("sluice/")
    assert headers.pop("host").startswith("127.0.0.1:")
    assert headers == {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "accept": "application/json",
        "accept-encoding": "identity",
        "x-client-request-id": "r1",
    }


def test_no_key_means_no_authorization_and_extra_headers_win() -> None:
    _, here = complete(whole, key="", headers=(("User-Agent", "mine"), ("X-Org", "o")))
    headers = here.requests[0].headers
    assert "authorization" not in headers
    assert (headers["user-agent"], headers["x-org"]) == ("mine", "o")


def test_unknown_fields_of_the_body_pass_byte_for_byte() -> None:
    odd = b'{"z": 1.50, "y":[ 1e3,\n"\\u00e9"],"big":12345678901234567890123}'
    body = b'{"model":"fast","stream":true,"stream_options":{},"odd": %b,"user":"u"}' % odd
    _, here = complete(whole, body=msgspec.Raw(body))
    sent = here.requests[0].body
    assert sent == b'{"model":"m-1","stream":false,"odd":%b,"user":"u"}' % odd


def test_our_own_fields_stay_here() -> None:
    body = {"model": "fast", "messages": [], **dict.fromkeys(OWN_FIELDS, 1)}
    _, here = complete(whole, body=msgspec.json.encode(body))
    assert set(msgspec.json.decode(here.requests[0].body)) == {"model", "messages", "stream"}


@pytest.mark.parametrize("body", [b"[]", b"", b"{", b'"x"'])
def test_a_body_that_is_no_object_is_refused_here(body: bytes) -> None:
    assert failure_of(whole, body=body).cause == "bad_request"


def test_embeddings_come_back_untouched() -> None:
    answer = (
        b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPw=="},'
        b'{"object":"embedding","index":1,"embedding":"AAAAQA=="}],'
        b'"model":"e-1","usage":{"prompt_tokens":8,"total_tokens":8}}'
    )
    body = b'{"model":"e","input":["a",[1,2]],"encoding_format":"base64","stream":false}'
    reply, here = complete(answering(200, answer), operation="embeddings", body=body)
    assert reply.response == answer
    assert reply.usage == Usage(prompt_tokens=8, total_tokens=8)
    assert here.requests[0].line.startswith("POST /v1/embeddings ")
    assert (
        here.requests[0].body == b'{"model":"m-1","input":["a",[1,2]],"encoding_format":"base64"}'
    )


def test_no_embeddings_at_all_are_an_empty_answer() -> None:
    failure = failure_of(answering(200, b'{"data": [ ]}'), operation="embeddings")
    assert failure.code == "empty_completion"


def test_white_space_that_keeps_the_connection_alive_is_dropped() -> None:
    reply, _ = complete(answering(200, b"\n \n" + WHOLE + b"\n"))
    assert reply.response == WHOLE


def test_an_answer_that_is_compressed_all_the_same_is_read() -> None:
    reply, _ = complete(answering(200, gzip.compress(WHOLE), content_encoding="gzip"))
    assert reply.response == WHOLE
    assert "content-encoding" not in reply.headers


def test_an_answer_that_ends_with_the_connection_is_read() -> None:
    async def http_1_0(connection: Connection) -> None:
        await connection.send(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + WHOLE)
        connection._writer.close()

    assert complete(http_1_0)[0].response == WHOLE


def test_an_answer_in_two_parts_is_read() -> None:
    async def halves(connection: Connection) -> None:
        await connection.begin(content_type="application/json")
        await connection.piece(WHOLE[:100])
        await asyncio.sleep(0.01)
        await connection.piece(WHOLE[100:])
        await connection.piece(b"")

    assert complete(halves)[0].response == WHOLE


def test_a_body_of_megabytes_is_sent() -> None:
    body = b'{"model":"m","image":"' + b"x" * 3_000_000 + b'"}'
    _, here = complete(whole, body=body)
    assert here.requests[0].body.startswith(b'{"model":"m-1","image":"xxx')
    assert len(here.requests[0].body) > 3_000_000


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, error(code=429, message="Slow."), "rate_limited"),
        (200, b'{"choices":[],"error":{"code":502,"message":"x"}}', "network"),
        (200, b'{"object":"error","message":"x","type":"BadRequestError"}', "bad_request"),
        (200, b'{"error":"out of memory"}', "network"),
        (200, b'{"object":"chat.completion","choices":[]}', "overloaded"),
        (200, b'{"choices":[{"message":{"role":"assistant","content":""}}]}', "overloaded"),
        (200, b'{"task":"accepted"}', "network"),
        (200, b"<html>login</html>", "network"),
        (200, b'{"choices":7}', "network"),
        (200, b"", "network"),
        (200, WHOLE[:-20], "network"),
        (400, error(message="Too long."), "bad_request"),
        (401, error(code="invalid_api_key"), "credentials"),
        (404, error(code="model_not_found"), "model_not_found"),
        (429, error(code="rate_limit_exceeded"), "rate_limited"),
        (502, b"<html><body>Bad Gateway</body></html>", "network"),
        (503, b"", "overloaded"),
        (307, b"", "network"),
    ],
)
def test_what_is_no_completion_fails_with_its_cause(status: int, body: bytes, cause: Cause) -> None:
    headers = {"location": "http://127.0.0.1:9/"} if status == 307 else {}
    failure = failure_of(answering(status, body, **headers))
    assert failure.cause == cause
    assert failure.message
    assert failure.metadata["provider"] == "openai"


def test_an_answer_that_ended_with_a_finish_reason_may_be_empty() -> None:
    body = b'{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"length"}]}'
    assert complete(answering(200, body))[0].finish_reason == "length"


def test_an_answer_of_no_token_is_told_as_empty_and_no_failure() -> None:
    body = WHOLE.replace(b"Hello", b"").replace(b'"completion_tokens":1', b'"completion_tokens":0')
    assert complete(answering(200, body))[0].empty
    assert not complete(whole)[0].empty


def test_a_proxy_is_asked_for_the_providers_address() -> None:
    async def scenario() -> str:
        async with served(whole) as here:
            proxy = here.base_url.removesuffix("/v1")
            call = here.call(base_url="http://provider.test/v1", proxy=proxy)
            assert (await here.upstream.complete(call)).response == WHOLE
            return here.requests[0].line

    line = asyncio.run(scenario())
    assert line == "POST http://provider.test/v1/chat/completions HTTP/1.1"


def test_a_refused_connection_fails_with_the_network() -> None:
    async def scenario() -> Failure:
        async with served(whole) as here:
            call = here.call()
        upstream = Upstream()
        with pytest.raises(UpstreamError) as raised:
            await upstream.complete(call)
        await upstream.close()
        return raised.value.failure()

    failure = asyncio.run(scenario())
    assert (failure.cause, failure.status, failure.code) == ("network", 502, "upstream_failed")


async def cut_at_once(connection: Connection) -> None:
    """Close without a word."""
    connection._writer.close()


async def reset_at_once(connection: Connection) -> None:
    """Reset without a word."""
    connection.reset()


async def garbage(connection: Connection) -> None:
    """Answer with what is no HTTP."""
    await connection.send(b"\x16\x03\x01garbage\r\n\r\n")
    await connection.closed_by_peer()


async def cut_in_the_body(connection: Connection) -> None:
    """Promise more than is sent."""
    await connection.answer(200, WHOLE[:50], content_length=str(len(WHOLE)))
    connection._writer.close()


@pytest.mark.parametrize("script", [cut_at_once, reset_at_once, garbage, cut_in_the_body])
def test_a_broken_connection_fails_with_the_network(script: Script) -> None:
    assert failure_of(script).cause == "network"


def test_a_key_that_no_header_can_hold_fails_without_being_told() -> None:
    failure = failure_of(whole, key="sk-line\nbreak")
    assert failure.cause == "credentials"
    assert "break" not in failure.message.replace("line\nbreak", "")


def test_a_kind_without_translation_and_a_bad_address_fail_readably() -> None:
    assert "'unheard'" in failure_of(whole, kind="unheard").message
    assert failure_of(whole, base_url="http://[::x/v1").cause == "network"
    assert failure_of(whole, base_url="ftp://127.0.0.1/v1").cause == "network"


def test_connections_are_used_again() -> None:
    async def scenario() -> int:
        async with served(whole) as here:
            for _ in range(5):
                await here.upstream.complete(here.call())
            return here.connections

    assert asyncio.run(scenario()) == 1


def test_three_hundred_calls_are_held_at_once() -> None:
    async def scenario() -> None:
        everybody_here = asyncio.Event()

        async def together(connection: Connection) -> None:
            if len(here.requests) == 300:
                everybody_here.set()
            await everybody_here.wait()
            await whole(connection)

        async with served(together) as here:
            calls = [here.upstream.complete(here.call()) for _ in range(300)]
            replies = await asyncio.wait_for(asyncio.gather(*calls), 10)
            assert {reply.response for reply in replies} == {WHOLE}

    asyncio.run(scenario())


def test_a_cancelled_call_closes_its_socket() -> None:
    async def scenario() -> None:
        async def silent(connection: Connection) -> None:
            await connection.closed_by_peer()

        async with served(silent) as here:
            task = asyncio.create_task(here.upstream.complete(here.call()))
            await here.until(lambda: len(here.requests) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await here.until(lambda: here.ended == 1)

    asyncio.run(scenario())


def test_the_default_call_says_its_timeouts() -> None:
    call = ProviderCall(request_id="r", base_url="x", kind="openai", model="m", body=BODY)
    assert (call.timeout.connect_s, call.timeout.total_s) == (5, 300)
