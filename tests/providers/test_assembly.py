"""Chunks into the whole object, the same however the bytes were cut."""

from itertools import pairwise
from typing import cast

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import Usage
from tests.providers.served import BODY
from tests.providers.shapes import CHUNKS, STREAM, chunk, frame
from workers.providers.assembly import Assembly, Fields, usage_of
from workers.providers.base import Answer, ProviderCall, Reply
from workers.providers.reader import ChatReader


def begun() -> ChatReader:
    """Begin to read a stream."""
    call = ProviderCall(request_id="r", base_url="http://x", kind="openai", model="m", body=BODY)
    return ChatReader(call, Answer(status=200, headers=httpx.Headers()))


def read(pieces: list[bytes]) -> tuple[list[bytes], Reply]:
    """Read a stream that comes in these pieces."""
    reader = begun()
    deltas = [reader.feed(piece) for piece in pieces]
    assert reader.finished
    assert reader.failure is None
    return [c for delta in deltas if delta is not None for c in delta.chunks], reader.reply()


def assembled(*chunks: bytes) -> Fields:
    """Assemble chunks into the whole object."""
    assembly = Assembly()
    for data in chunks:
        assembly.add(msgspec.json.decode(data, type=dict[str, object]))
    return msgspec.json.decode(assembly.whole(), type=dict[str, object])


def choice(whole: Fields, index: int = 0) -> Fields:
    """Give one choice of a whole object."""
    return cast("list[Fields]", whole["choices"])[index]


def message(whole: Fields, index: int = 0) -> Fields:
    """Give the message of one choice."""
    return cast("Fields", choice(whole, index)["message"])


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_the_reply_does_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks, reply = read([STREAM[a:b] for a, b in pairwise(edges)])
    assert chunks == CHUNKS
    assert reply == read([STREAM])[1]


def test_a_stream_of_single_bytes_is_cut_within_characters_and_still_read() -> None:
    chunks, reply = read([bytes([byte]) for byte in STREAM])
    assert chunks == CHUNKS
    assert "Grüße, Welt 🌍".encode() in reply.response


def test_the_whole_object_has_the_official_form() -> None:
    whole = assembled(*CHUNKS)
    assert whole == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m-1-2024",
        "system_fingerprint": "fp_1",
        "choices": [
            {
                "index": 0,
                "logprobs": None,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Grüße, Welt 🌍", "refusal": None},
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }


def test_tool_calls_are_put_together_by_index() -> None:
    def calls(*told: Fields) -> bytes:
        return chunk({"tool_calls": list(told)})

    whole = assembled(
        chunk({"role": "assistant", "content": None}),
        calls({"index": 0, "id": "a", "type": "function", "function": {"name": "f"}}),
        calls({"index": 0, "function": {"arguments": '{"x"'}}),
        calls({"index": 1, "id": "b", "type": "function", "function": {"name": "g"}}),
        calls(
            {"index": 0, "function": {"arguments": ":1}"}},
            {"index": 1, "function": {"name": "g", "arguments": "{}"}},
        ),
        chunk(finish="tool_calls"),
    )
    assert message(whole)["content"] is None
    assert message(whole)["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_tool_calls_without_an_index_begin_anew_with_a_new_id() -> None:
    whole = assembled(
        chunk({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}),
        chunk({"tool_calls": [{"function": {"arguments": "}"}}]}),
        chunk({"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": "[]"}}]}),
    )
    calls = cast("list[Fields]", message(whole)["tool_calls"])
    assert [(c["id"], cast("Fields", c["function"])["arguments"]) for c in calls] == [
        ("a", "{}"),
        ("b", "[]"),
    ]


def test_several_choices_are_kept_apart_and_in_order() -> None:
    def of(index: int, text: str, finish: str | None = None) -> bytes:
        told = {"index": index, "delta": {"content": text}, "finish_reason": finish}
        return chunk(choices=[told])

    whole = assembled(of(1, "b1"), of(0, "a1"), of(1, "b2", "length"), of(0, "a2", "stop"))
    assert [message(whole, i)["content"] for i in (0, 1)] == ["a1a2", "b1b2"]
    assert [choice(whole, i)["finish_reason"] for i in (0, 1)] == ["stop", "length"]


@pytest.mark.parametrize("field", ["refusal", "reasoning", "reasoning_content", "of_tomorrow"])
def test_every_string_of_a_delta_is_text_in_pieces(field: str) -> None:
    whole = assembled(chunk({field: "a"}), chunk({field: None}), chunk({field: "b"}))
    assert message(whole)[field] == "ab"


def test_an_old_function_call_is_put_together() -> None:
    whole = assembled(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
    )
    assert message(whole)["function_call"] == {"name": "f", "arguments": "{}"}


def test_log_probabilities_and_lists_without_index_grow() -> None:
    def logged(token: str) -> bytes:
        told: Fields = {"content": [{"token": token, "logprob": -0.5}], "refusal": None}
        return chunk(choices=[{"index": 0, "delta": {"notes": [token]}, "logprobs": told}])

    whole = assembled(logged("a"), logged("b"))
    assert choice(whole)["logprobs"] == {
        "content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -0.5}],
        "refusal": None,
    }
    assert message(whole)["notes"] == ["a", "b"]


def test_fields_beside_the_delta_that_only_the_last_chunk_has_are_kept() -> None:
    last = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": 7}
    whole = assembled(chunk({"content": "a"}), chunk(choices=[last], citations=["u"]))
    assert whole["citations"] == ["u"]
    assert choice(whole)["stop_reason"] == 7


def test_usage_without_a_total_is_summed_and_nonsense_in_it_is_nothing() -> None:
    assert usage_of(None) is None
    assert usage_of({"prompt_tokens": 2, "completion_tokens": 3}) == Usage(
        prompt_tokens=2, completion_tokens=3, total_tokens=5
    )
    assert usage_of({"prompt_tokens": None, "total_tokens": "7"}) == Usage()


def test_the_chunk_that_holds_usage_alone_is_told() -> None:
    deltas = begun().feed(STREAM)
    assert deltas is not None
    assert deltas.usage_at == 4
    mixed = begun().feed(frame(chunk({"content": "a"}, usage={"total_tokens": 3})))
    assert mixed is not None
    assert mixed.usage_at == -1


def test_a_chunk_over_several_data_lines_becomes_one_line() -> None:
    first, second = chunk({"content": "a"}).split(b',"usage"')
    deltas = begun().feed(b"data: " + first + b',\ndata: "usage"' + second + b"\n\n")
    assert deltas is not None
    assert deltas.chunks == [first + b', "usage"' + second]


def test_frames_that_are_no_chunks_are_kept_from_the_clients() -> None:
    reader = begun()
    assert reader.feed(frame(b'{"type":"ping"}') + frame(b"{}")) is None
    assert reader.failure is None


def test_text_of_many_pieces_is_assembled_in_linear_time() -> None:
    assembly = Assembly()
    piece: Fields = {"choices": [{"index": 0, "delta": {"content": "word "}}]}
    for _ in range(100_000):
        assembly.add(piece)
    assert len(assembly.whole()) > 500_000
