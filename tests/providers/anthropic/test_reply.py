"""Whole answers and streams in Anthropic's form, as the client is told of them."""

import httpx
import msgspec
import pytest

from pipeline.errors import UpstreamError
from pipeline.event import Usage
from pipeline.limits.seen import Seen
from tests.conformance.anthropic_shapes import event, events, message, text, thought, used
from tests.conformance.forms import Json
from tests.providers.anthropic.translated import Fields, call_of, messages_sent
from workers.providers.anthropic.reader import MessageReader
from workers.providers.anthropic.translation import Anthropic
from workers.providers.base import Answer, Reply

REDACTED: Fields = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
REFUSED = {"type": "refusal", "category": "bio", "explanation": "It could do harm."}


def reply_to(body: bytes, **headers: str) -> Reply:
    """Read a whole answer."""
    told = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return Anthropic().reply(call_of({}), Answer(status=200, headers=told, body=body))


def reader() -> MessageReader:
    return Anthropic().reader(call_of({}, stream=True), Answer(status=200, headers=httpx.Headers()))


def streamed(data: bytes) -> tuple[list[Fields], Reply]:
    """Read a stream to its end."""
    reading = reader()
    deltas = [reading.feed(data), reading.end()]
    assert reading.failure is None
    assert reading.finished
    chunks = [chunk for given in deltas if given for chunk in given.chunks]
    return [msgspec.json.decode(chunk) for chunk in chunks], reading.reply()


def message_of(reply: Reply) -> Fields:
    """Give the message of the first choice."""
    choices = msgspec.convert(msgspec.json.decode(reply.response)["choices"], list[Fields])
    return msgspec.convert(choices[0]["message"], Fields)


def ended(stop: str, **more: object) -> bytes:
    """Write a stream of one word that ends so."""
    data = events((text(""), [{"type": "text_delta", "text": "Hm"}]), stop=stop)
    if more:
        head, _, _ = data.partition(b"event: message_delta")
        delta = {"stop_reason": stop, "stop_sequence": None, **more}
        data = head + event(type="message_delta", delta=delta, usage={"output_tokens": 2})
        data += event(type="message_stop")
    return data


STOPS = [
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("tool_use", "tool_calls"),
    ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"),
    ("pause_turn", "length"),
    ("refusal", "content_filter"),
    ("a_reason_of_tomorrow", "stop"),
]


@pytest.mark.parametrize(("stop", "finish"), STOPS)
def test_each_stop_reason_has_its_finish_reason(stop: str, finish: str) -> None:
    assert reply_to(message([text("Hm")], stop)).finish_reason == finish
    chunks, reply = streamed(ended(stop))
    assert reply.finish_reason == finish
    assert msgspec.convert(chunks[-2]["choices"], list[Fields])[0]["finish_reason"] == finish


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"stop_details": REFUSED}, "It could do harm."),
        ({"stop_details": {"type": "refusal"}}, "The model declined to answer."),
        ({"stop_details": None}, "The model declined to answer."),
    ],
)
def test_a_refusal_is_told_beside_what_was_said(more: Fields, refusal: str) -> None:
    for reply in (
        reply_to(message([text("Hm")], "refusal", **more)),
        streamed(ended("refusal", **more))[1],
    ):
        assert message_of(reply) == {"role": "assistant", "content": "Hm", "refusal": refusal}
        assert reply.finish_reason == "content_filter"


def test_a_refusal_with_nothing_said_is_no_empty_answer() -> None:
    usage = {"input_tokens": 9, "output_tokens": 0}
    reply = reply_to(message([], "refusal", usage=usage))
    assert message_of(reply)["content"] is None
    assert message_of(reply)["refusal"]


def test_texts_are_joined_and_unknown_blocks_are_passed_over() -> None:
    unknown: Fields = {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}
    assert message_of(reply_to(message([text("One, "), unknown, text("two.")]))) == {
        "role": "assistant",
        "content": "One, two.",
        "refusal": None,
    }


def test_arguments_stay_as_they_came() -> None:
    body = message([used("a")]).replace(b'"input":{}', b'"input":{"n": 1.50, "s":"\\u00e9"}')
    calls = msgspec.convert(message_of(reply_to(body))["tool_calls"], list[Fields])
    assert calls[0]["function"] == {"name": "weather", "arguments": '{"n": 1.50, "s":"\\u00e9"}'}


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_told_of_thoughts_can_be_sent_back(stream: bool) -> None:
    blocks = [thought(thinking="Hm.", signature="c2ln"), REDACTED, used("a", city="Rom")]
    if stream:
        deltas: list[list[Json]] = [
            [
                {"type": "thinking_delta", "thinking": "Hm."},
                {"type": "signature_delta", "signature": "c2"},
                {"type": "signature_delta", "signature": "ln"},
            ],
            [],
            [{"type": "input_json_delta", "partial_json": '{"city":"Rom"}'}],
        ]
        begun: list[Json] = [thought(), REDACTED, used("a")]
        reply = streamed(events(*zip(begun, deltas, strict=True), stop="tool_use"))[1]
    else:
        reply = reply_to(message(list(blocks), "tool_use"))
    result: Fields = {"role": "tool", "tool_call_id": "a", "content": "Rain."}
    turns = messages_sent({"role": "user", "content": "hi"}, message_of(reply), result)
    assert turns[1] == {"role": "assistant", "content": blocks}


def test_what_a_block_begins_with_counts_too() -> None:
    data = events(
        (thought(thinking="Hm.", signature="c2ln"), []),
        (text("One"), [{"type": "text_delta", "text": " two"}]),
        (used("a", city="Rom"), []),
        stop="tool_use",
    )
    told = message_of(streamed(data)[1])
    assert (told["reasoning_content"], told["content"]) == ("Hm.", "One two")
    details = msgspec.convert(told["reasoning_details"], list[Fields])
    assert (details[0]["text"], details[0]["signature"]) == ("Hm.", "c2ln")
    calls = msgspec.convert(told["tool_calls"], list[Fields])
    assert calls[0]["function"] == {"name": "weather", "arguments": '{"city":"Rom"}'}


def test_a_message_with_nothing_and_no_end_is_a_cold_deployments() -> None:
    with pytest.raises(UpstreamError) as raised:
        reply_to(message([], None))
    assert raised.value.failure().code == "empty_completion"


def test_a_count_without_a_reason_does_not_end_a_stream() -> None:
    early = event(type="message_delta", delta={"stop_reason": None}, usage={"output_tokens": 1})
    head, mark, tail = ended("end_turn").partition(b"event: message_delta")
    assert streamed(head + early + mark + tail)[1].finish_reason == "stop"


def test_a_thought_that_is_not_told_keeps_its_signature() -> None:
    data = events(
        (thought(), [{"type": "signature_delta", "signature": "c2ln"}]),
        (text(""), [{"type": "text_delta", "text": "Hi"}]),
    )
    details = message_of(streamed(data)[1])["reasoning_details"]
    assert msgspec.convert(details, list[Fields])[0]["signature"] == "c2ln"


def test_the_whole_prompt_counts_and_the_cache_is_told() -> None:
    usage = {
        "input_tokens": 9,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 5},
        "service_tier": "standard",
    }
    reply = reply_to(message([text("Hm")], usage=usage))
    assert reply.usage == Usage(
        prompt_tokens=129,
        completion_tokens=7,
        total_tokens=136,
        cached_tokens=100,
        cache_write_tokens=20,
        reasoning_tokens=5,
    )
    told = msgspec.json.decode(reply.response)
    assert told["service_tier"] == "default"
    assert told["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 100,
        "cache_write_tokens": 20,
    }


def test_the_latest_counts_of_a_stream_are_the_usage() -> None:
    end = {"output_tokens": 30, "input_tokens": None, "cache_read_input_tokens": 4}
    data = ended("end_turn").replace(
        b'"usage":{"output_tokens":2}', b'"usage":%b' % msgspec.json.encode(end)
    )
    chunks, reply = streamed(data)
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (13, 30)
    assert chunks[-1]["choices"] == []
    assert not any(chunk.get("usage") for chunk in chunks[:-1])


def test_the_id_the_model_and_the_limits_are_told() -> None:
    reply = reply_to(
        message([text("Hm")]),
        request_id="req_1",
        anthropic_ratelimit_requests_limit="50",
        anthropic_ratelimit_requests_remaining="49",
    )
    assert (reply.upstream_id, reply.model) == ("msg_1", "m-1-2026")
    assert reply.headers["request-id"] == "req_1"
    assert reply.seen == (Seen("rpm", 50, 49, -1),)


def test_chunks_share_an_id_and_begin_with_the_role() -> None:
    chunks, _ = streamed(ended("end_turn"))
    assert {chunk["id"] for chunk in chunks} == {"msg_1"}
    first = msgspec.convert(chunks[0]["choices"], list[Fields])[0]
    assert first["delta"] == {"role": "assistant", "content": None}


def test_nothing_is_given_before_something_is_said() -> None:
    reading = reader()
    frames = ended("end_turn").split(b"\n\n")
    given = [reading.feed(frame + b"\n\n") for frame in frames[:4]]
    assert given[:3] == [None, None, None]
    assert given[3] is not None
    assert len(given[3].chunks) == 2


def test_events_that_may_be_added_one_day_are_passed_over() -> None:
    new = event(type="content_block_hint", index=0, hint={"x": 1}) + event(type="ping")
    citation = event(
        type="content_block_delta", index=0, delta={"type": "citations_delta", "citation": {}}
    )
    data = b"".join(frame + b"\n\n" + new for frame in ended("end_turn").split(b"\n\n")[:-1])
    assert message_of(streamed(data)[1])["content"] == "Hm"
    head, mark, tail = ended("end_turn").partition(b"event: content_block_stop")
    assert message_of(streamed(head + citation + mark + tail)[1])["content"] == "Hm"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Busy."}}', "overloaded"),
        (b'{"type":"message","content":"text"}', "network"),
        (b'{"id":"x"}', "network"),
    ],
)
def test_what_is_no_message_is_a_failure(body: bytes, cause: str) -> None:
    with pytest.raises(UpstreamError) as raised:
        reply_to(body)
    assert raised.value.failure().cause == cause
