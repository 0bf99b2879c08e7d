"""Embeddings in OpenAI's form: whether all are there, and as base64 where that was asked for.

The official client asks for base64 unless told otherwise, and reads little-endian float32.
"""

import sys
from array import array
from base64 import b64encode
from typing import Final

import msgspec

from pipeline.errors import UpstreamError
from workers.providers import verdict
from workers.providers.base import Answer, ProviderCall

_LIST: Final = b"["


class _Asked(msgspec.Struct, frozen=True):
    """As much of a request as has to be known."""

    input: msgspec.Raw = msgspec.Raw(b'""')
    encoding_format: object = None


class _Vector(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw = msgspec.Raw(b"")


_asked = msgspec.json.Decoder(_Asked)
_inputs = msgspec.json.Decoder(list[msgspec.Raw])
_vectors = msgspec.json.Decoder(list[_Vector])
_items = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_numbers = msgspec.json.Decoder(list[float])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def checked(call: ProviderCall, answer: Answer, data: msgspec.Raw) -> bytes:
    """Give the answer's body, as the client asked for it; raises `UpstreamError`.

    `data` is the list of vectors within the body, which stays as it came unless it has to change.
    """
    asked = _asked.decode(call.body)
    try:
        vectors = _vectors.decode(data)
    except msgspec.ValidationError as raised:
        raise verdict.garbage(
            call, answer, "The provider's embeddings are no vectors", answer.body
        ) from raised
    wanted = _count(asked.input)
    if len(vectors) != wanted:
        raise _mismatch(call, answer, f"{len(vectors)} embeddings for {wanted} inputs")
    if asked.encoding_format != "base64" or not any(map(_is_list, vectors)):
        return answer.body
    body = _fields.decode(answer.body)
    body["data"] = msgspec.Raw(_packed(data))
    return _encode(body)


def _count(given: msgspec.Raw) -> int:
    """Tell how many inputs there are: one text or one list of token ids, or a list of them."""
    text = bytes(memoryview(given)[:64]).lstrip()
    if not text.startswith(_LIST):
        return 1
    inputs = _inputs.decode(given)
    first = bytes(memoryview(inputs[0])[:1]) if inputs else b""
    return 1 if first.isdigit() else len(inputs)


def _is_list(vector: _Vector) -> bool:
    return bytes(memoryview(vector.embedding)[:1]) == _LIST


def _packed(data: msgspec.Raw) -> bytes:
    items = _items.decode(data)
    for item in items:
        numbers = item.get("embedding", msgspec.Raw(b""))
        if bytes(memoryview(numbers)[:1]) == _LIST:
            item["embedding"] = msgspec.Raw(_encode(base64_of(_numbers.decode(numbers))))
    return _encode(items)


def base64_of(numbers: list[float]) -> str:
    """Pack numbers as little-endian float32 in base64."""
    packed = array("f", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return b64encode(packed.tobytes()).decode()


def _mismatch(call: ProviderCall, answer: Answer, what: str) -> UpstreamError:
    return verdict.failed(
        call,
        "network",
        f"The provider gave {what}: no telling which belongs to which.",
        provider_status=answer.status,
    )
