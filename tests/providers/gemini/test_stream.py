"""Streams: the same chunks however the bytes come, and each way to break off."""

import msgspec
import pytest

from pipeline.event import Usage
from tests.conformance.legal import check_chunks
from tests.providers.gemini.ground import Json, chunks_of, events, generated, read

CALL: Json = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
OTHER: Json = {"functionCall": {"name": "g", "args": {}}}
FRAMES: tuple[Json, ...] = (
    generated({"text": ""}, finish=None),
    generated({"text": "Hm", "thought": True}, finish=None),
    generated({"text": "Grüße 🌍"}, finish=None),
    generated(CALL, finish=None),
    generated(OTHER),
)
STREAM = events(*FRAMES)


def deltas_of(chunks: list[dict[str, object]]) -> list[object]:
    choices = [chunk["choices"] for chunk in chunks]
    return [one["delta"] for each in choices for one in each]  # type: ignore[attr-defined]


def call_delta(index: int, name: str, arguments: str, **more: object) -> Json:
    made = {"name": name, "arguments": arguments}
    named = {"index": index, "id": f"call_resp1_0_{index}", "type": "function"}
    return {"tool_calls": [{**named, "function": made, **more}]}


def test_each_frame_becomes_what_is_new_in_it() -> None:
    chunks = chunks_of(STREAM)
    signed = {"google": {"thought_signature": "c2ln"}}
    assert deltas_of(chunks) == [
        {"role": "assistant", "reasoning_content": "Hm"},
        {"content": "Grüße 🌍"},
        call_delta(0, "f", '{"a":1}', extra_content=signed),
        call_delta(1, "g", "{}"),
        {},
    ]
    assert {chunk["id"] for chunk in chunks} == {"resp1"}
    [finish] = chunks[-2]["choices"]  # type: ignore[misc]
    assert finish["finish_reason"] == "tool_calls"  # type: ignore[has-type]


def test_the_usage_comes_last_and_once() -> None:
    reader, given = read(STREAM)
    check_chunks(given)
    assert reader.reply().usage == Usage(prompt_tokens=5, completion_tokens=2, total_tokens=7)


def test_nothing_is_given_before_something_is_said() -> None:
    silent = events(generated({"text": ""}, finish=None), generated(finish=None))
    reader, given = read([silent, events(generated({"text": "a"}))])
    assert reader.failure is None
    first = msgspec.json.decode(given[0].chunks[0])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a"}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_the_pieces_of_the_bytes_make_no_difference(size: int) -> None:
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert undated(chunks_of(pieces)) == undated(chunks_of(STREAM))


def test_a_stream_may_be_cut_in_two_anywhere() -> None:
    expected = undated(chunks_of(STREAM))
    for cut in range(len(STREAM)):
        assert undated(chunks_of([STREAM[:cut], STREAM[cut:]])) == expected


def test_a_stream_that_ends_anywhere_before_its_last_frame_has_broken_off() -> None:
    last = len(STREAM) - len(b"\r\n\r\n")
    for cut in range(len(STREAM)):
        reader, given = read(STREAM[:cut])
        whole = cut >= last
        assert reader.finished == whole
        if not whole:
            assert reader.failure is not None
            assert reader.failure.cause == ("interrupted" if given else "network")


def test_every_candidate_has_to_end() -> None:
    both = [generated({"text": "a"}, finish=None, index=at) for at in (0, 1)]
    one_ended = events(*both, generated({"text": ""}, index=1))
    reader, _ = read(one_ended)
    assert reader.failure is not None
    assert reader.failure.cause == "interrupted"
    chunks = chunks_of(one_ended + events(generated({"text": ""})))
    assert deltas_of(chunks)[:2] == [{"role": "assistant", "content": "a"}] * 2


def test_an_error_within_the_stream_ends_it() -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    reader, given = read(events(FRAMES[2], error, FRAMES[4]))
    assert reader.failure is not None
    assert reader.failure.cause == "overloaded"
    assert len(given) == 1


def test_a_prompt_that_is_blocked_is_refused_before_anything_is_given() -> None:
    reader, given = read(events({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}}))
    assert given == []
    assert reader.failure is not None
    assert reader.failure.failure().code == "content_filter"


@pytest.mark.parametrize(
    "data",
    [b"data: {\r\n\r\n", b'data: {"candidates":3}\r\n\r\n', b"data: {}\r\n\r\n", b"data: \xff\n\n"],
)
def test_a_frame_that_is_none_ends_the_stream(data: bytes) -> None:
    reader, given = read(events(FRAMES[2]) + data + events(FRAMES[4]))
    assert reader.failure is not None
    assert reader.failure.cause == "network"
    assert len(given) == 1


@pytest.mark.parametrize("part", [{"executableCode": {}}, {"functionCall": {"args": {}}}, 3])
def test_a_part_that_cannot_be_told_ends_the_stream(part: Json) -> None:
    reader, _ = read(events(FRAMES[2], generated(part)))
    assert reader.failure is not None
    assert not reader.finished


def test_a_finish_alone_is_an_answer_that_says_nothing() -> None:
    reader, given = read(events(generated(finish="SAFETY", usageMetadata={"promptTokenCount": 5})))
    assert reader.failure is None
    assert len(given) == 2
    assert not reader.reply().empty


def undated(chunks: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**chunk, "created": 0} for chunk in chunks]
