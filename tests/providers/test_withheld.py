"""Answers that a filter withheld, and whole answers where a stream was due: in each form."""

import asyncio

import msgspec
import pytest

from pipeline.errors import Failure, UpstreamError
from tests.providers.served import Connection, served
from tests.providers.shapes import DONE, chunk, frame
from workers.providers.base import ProviderCall, Reply
from workers.providers.upstream import Upstream

Json = dict[str, object]
KINDS = ("openai", "anthropic", "gemini")


def openai(said: str) -> Json:
    message: Json = {"role": "assistant", "content": said or None, "refusal": None}
    choice: Json = {"index": 0, "message": message, "finish_reason": "content_filter"}
    usage = {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
    return {"id": "c1", "object": "chat.completion", "choices": [choice], "usage": usage}


def anthropic(said: str) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": said}] if said else [],
        "stop_reason": "refusal",
        "usage": {"input_tokens": 3, "output_tokens": 0},
    }


def gemini(said: str) -> Json:
    parts = [{"text": said}] if said else []
    candidate: Json = {"content": {"parts": parts}, "index": 0, "finishReason": "SAFETY"}
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3}}


WHOLE = {"openai": openai, "anthropic": anthropic, "gemini": gemini}


def event(told: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(told["type"]).encode(), msgspec.json.encode(told))


def stream_of(kind: str, said: str) -> bytes:
    """Write the stream of an answer that says something, or nothing, and is withheld then."""
    if kind == "openai":
        deltas = [chunk({"role": "assistant", "content": ""}), chunk({"content": said})]
        return b"".join(map(frame, [*deltas, chunk(finish="content_filter")])) + DONE
    if kind == "gemini":
        return frame(msgspec.json.encode(gemini(said)))
    usage = {"output_tokens": 0}
    block: list[Json] = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": said}},
        {"type": "content_block_stop", "index": 0},
    ]
    events: list[Json] = [
        {"type": "message_start", "message": anthropic("") | {"stop_reason": None}},
        *(block if said else []),
        {"type": "message_delta", "delta": {"stop_reason": "refusal"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return b"".join(map(event, events))


async def asked(upstream: Upstream, call: ProviderCall) -> Reply:
    if not call.stream:
        return await upstream.complete(call)
    async with upstream.stream(call) as stream:
        async for _ in stream:
            pass
        return stream.reply()


def outcome(kind: str, body: bytes, content_type: str, **changes: object) -> Reply | Failure:
    """Ask a provider that answers so."""

    async def script(connection: Connection) -> None:
        await connection.answer(200, body, content_type=content_type)

    async def scenario() -> Reply | Failure:
        async with served(script) as here:
            try:
                return await asked(here.upstream, here.call(kind=kind, **changes))
            except UpstreamError as raised:
                return raised.failure()

    return asyncio.run(scenario())


def answered(kind: str, said: str, *, stream: bool, fails: bool) -> Reply | Failure:
    if stream:
        body, told = stream_of(kind, said), "text/event-stream"
    else:
        body, told = msgspec.json.encode(WHOLE[kind](said)), "application/json"
    return outcome(kind, body, told, stream=stream, fails_withheld=fails)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_withheld_fails_where_others_may_answer(kind: str, *, stream: bool) -> None:
    failure = answered(kind, "", stream=stream, fails=True)
    assert isinstance(failure, Failure)
    assert (failure.cause, failure.code, failure.status) == ("bad_request", "content_filter", 400)
    assert failure.param == "messages"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("said", "fails"), [("Well", True), ("", False)])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_withheld_is_an_answer_otherwise(
    kind: str, said: str, *, fails: bool, stream: bool
) -> None:
    reply = answered(kind, said, stream=stream, fails=fails)
    assert isinstance(reply, Reply)
    assert reply.finish_reason == "content_filter"


def test_a_prompt_that_gemini_blocks_is_told_even_where_a_stream_was_due() -> None:
    body = b'{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}}'
    failure = outcome("gemini", body, "application/json", stream=True)
    assert isinstance(failure, Failure)
    assert (failure.cause, failure.code, failure.param) == (
        "bad_request",
        "content_filter",
        "messages",
    )
    assert "PROHIBITED_CONTENT" in failure.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_answer_where_a_stream_was_due_is_a_failure(kind: str) -> None:
    body = msgspec.json.encode(WHOLE[kind]("Well"))
    failure = outcome(kind, body, "application/json", stream=True)
    assert isinstance(failure, Failure)
    assert failure.cause == "network"
    assert "where a stream was due" in failure.message
