"""Embeddings between OpenAI's form and Gemini's: https://ai.google.dev/api/embeddings

One text goes to `embedContent`, several to `batchEmbedContents`, whose order is the request's.
"""

from typing import Final

import msgspec

from pipeline.event import Usage
from workers.providers import verdict
from workers.providers.assembly import Fields
from workers.providers.base import Answer, ProviderCall, Reply
from workers.providers.form import EmbeddingForm
from workers.providers.vectors import base64_of

_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)
_encode = msgspec.json.Encoder().encode


class _Embedding(msgspec.Struct, frozen=True):
    values: list[float]


class _Counted(msgspec.Struct, frozen=True, rename="camel"):
    prompt_token_count: int = 0


class _Whole(msgspec.Struct, frozen=True, rename="camel"):
    embedding: _Embedding | None = None
    embeddings: list[_Embedding] | None = None
    #: Newer models count; the older say nothing.
    usage_metadata: _Counted | None = None


_whole = msgspec.json.Decoder(_Whole)


def request_of(form: EmbeddingForm, model: str) -> tuple[str, Fields]:
    """Give the method and the request."""
    if isinstance(form.input, str):
        return "embedContent", _one(form.input, form, model)
    return "batchEmbedContents", {"requests": [_one(text, form, model) for text in form.input]}


def reply_of(call: ProviderCall, answer: Answer, form: EmbeddingForm) -> Reply:
    """Give the vectors as they were asked for; raises `UpstreamError` when there are none."""
    try:
        whole = _whole.decode(answer.body)
    except _NOT_JSON as raised:
        raise _none(call, answer) from raised
    vectors = whole.embeddings if whole.embedding is None else [whole.embedding]
    wanted = 1 if isinstance(form.input, str) else len(form.input)
    if vectors is None or len(vectors) not in (0, wanted):
        raise _none(call, answer)
    if not vectors:
        raise verdict.empty(call, answer)
    counted = whole.usage_metadata
    tokens = counted.prompt_token_count if counted else 0
    response = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": _written(vector.values, form)}
            for at, vector in enumerate(vectors)
        ],
        "model": call.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Reply(
        response=_encode(response),
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens) if counted else None,
        model=call.model,
        status=answer.status,
        headers=answer.headers,
    )


def _one(text: str, form: EmbeddingForm, model: str) -> Fields:
    request: Fields = {"model": model, "content": {"parts": [{"text": text}]}}
    if form.dimensions is not None:
        request["outputDimensionality"] = form.dimensions
    return request


def _written(values: list[float], form: EmbeddingForm) -> object:
    return base64_of(values) if form.encoding_format == "base64" else values


def _none(call: ProviderCall, answer: Answer) -> Exception:
    told = "The provider's answer holds no embedding for each input"
    return verdict.error_within(call, answer, answer.body) or verdict.garbage(
        call, answer, told, answer.body
    )
