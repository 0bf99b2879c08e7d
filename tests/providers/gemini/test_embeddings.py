"""Embeddings: one text or many, floats or base64, counted or not."""

import base64
import struct

import httpx
import msgspec
import pytest

from pipeline.errors import Failure, UpstreamError
from pipeline.event import Usage
from tests.providers.gemini.ground import Json, call
from workers.providers.base import Answer, Reply
from workers.providers.gemini.translation import Gemini
from workers.providers.simulated.gemini_request import BatchEmbed, Embed

MODEL = "gemini-embedding-001"
TWO: Json = {"embeddings": [{"values": [0.25, -1.5]}, {"values": [3, 4]}]}


def sent(**asked: object) -> tuple[str, dict[str, object]]:
    """Give the path and the body that are sent."""
    body = msgspec.json.encode({"model": "e", **asked})
    request = Gemini().request(call(MODEL, operation="embeddings", body=body))
    fields: dict[str, object] = msgspec.json.decode(request.read())
    return request.url.path, fields


def reply_to(answer: Json, **asked: object) -> Reply:
    body = msgspec.json.encode({"model": "e", **asked})
    told = Answer(status=200, headers=httpx.Headers(), body=msgspec.json.encode(answer))
    return Gemini().reply(call(MODEL, operation="embeddings", body=body), told)


def failure_of(answer: Json, **asked: object) -> Failure:
    with pytest.raises(UpstreamError) as raised:
        reply_to(answer, **asked)
    return raised.value.failure()


def test_one_text_is_embedded_alone() -> None:
    path, body = sent(input="hi", user="u", dimensions=768)
    assert path == "/v1beta/models/gemini-embedding-001:embedContent"
    assert msgspec.convert(body, Embed).output_dimensionality == 768
    assert body == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "hi"}]},
        "outputDimensionality": 768,
    }


def test_texts_are_embedded_in_a_batch_in_their_order() -> None:
    path, body = sent(input=["a", "b"])
    assert path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert [one.text() for one in msgspec.convert(body, BatchEmbed).requests] == ["a", "b"]


@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("input[0]", {"input": [[1, 2], [3]]}),
        ("input[0]", {"input": [1, 2]}),
        ("input", {"input": 7}),
        ("dimensions", {"input": "a", "dimensions": "all"}),
        ("encoding_format", {"input": "a", "encoding_format": "int8"}),
        ("task_type", {"input": "a", "task_type": "CLUSTERING"}),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(param: str, asked: dict[str, object]) -> None:
    with pytest.raises(UpstreamError) as raised:
        sent(**asked)
    failure = raised.value.failure()
    assert (failure.status, failure.param) == (400, param)


def test_vectors_come_back_as_floats() -> None:
    reply = reply_to(TWO, input=["a", "b"], encoding_format="float")
    assert msgspec.json.decode(reply.response) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.25, -1.5]},
            {"object": "embedding", "index": 1, "embedding": [3, 4]},
        ],
        "model": MODEL,
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


def test_vectors_come_back_as_base64_of_little_endian_floats() -> None:
    reply = reply_to({"embedding": {"values": [0.25, -1.5]}}, input="a", encoding_format="base64")
    [item] = msgspec.json.decode(reply.response)["data"]
    assert struct.unpack("<2f", base64.b64decode(item["embedding"])) == (0.25, -1.5)


def test_what_is_counted_is_told_and_nothing_else() -> None:
    assert reply_to(TWO, input=["a", "b"]).usage is None
    counted = {**TWO, "usageMetadata": {"promptTokenCount": 9}}
    reply = reply_to(counted, input=["a", "b"])
    assert reply.usage == Usage(prompt_tokens=9, total_tokens=9)


def test_no_vectors_at_all_are_an_empty_answer() -> None:
    failure = failure_of({"embeddings": []}, input=["a", "b"])
    assert (failure.cause, failure.code) == ("overloaded", "empty_completion")


@pytest.mark.parametrize(
    "answer", [{}, {"embeddings": 3}, {"candidates": []}, {"embedding": {"values": [1]}}]
)
def test_an_answer_without_a_vector_for_each_text_is_none(answer: Json) -> None:
    assert failure_of(answer, input=["a", "b"]).cause == "network"
    error = {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
    assert failure_of(error, input="a").cause == "overloaded"
