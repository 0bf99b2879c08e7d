"""Reads embedding requests and writes embeddings: unit vectors that follow from the input.

Each component is +c or -c with c = 1/sqrt(dimensions), its sign one bit of a hash of the input:
equal inputs give equal vectors, different ones nearly orthogonal vectors, at next to no cost.
"""

import hashlib
import struct
from base64 import b64encode
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from workers.providers.simulated.chat import estimate_tokens
from workers.providers.simulated.faults import Behaviour, Dimensions

Tokens = list[int]
_encoder = msgspec.json.Encoder()


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """What the simulation needs of an embeddings request; other fields are ignored."""

    model: str
    input: str | Annotated[list[str | int | Tokens], msgspec.Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Dimensions | None = None
    simulate: msgspec.Raw = msgspec.Raw()

    def inputs(self) -> list[str | Tokens]:
        """Return what is to be embedded, one vector each."""
        if isinstance(self.input, str):
            return [self.input]
        numbers = [item for item in self.input if isinstance(item, int)]
        if numbers:
            return [numbers]
        return [item for item in self.input if not isinstance(item, int)]

    def cost(self, behaviour: Behaviour) -> int:  # noqa: ARG002 - every request has it
        return self.prompt_tokens()

    def whole(self, behaviour: Behaviour) -> bytes:
        return embeddings_body(self, behaviour)

    def prompt_tokens(self) -> int:
        inputs = self.inputs()
        return sum(estimate_tokens(len(i)) if isinstance(i, str) else len(i) for i in inputs)


def embeddings_body(request: EmbeddingRequest, behaviour: Behaviour) -> bytes:
    """Return the whole answer, in the encoding that was asked for."""
    length = request.dimensions or behaviour.dimensions
    write = _as_base64 if request.encoding_format == "base64" else _as_floats
    data = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}'
        % (at, write(_bits(item, length), length))
        for at, item in enumerate(request.inputs())
    )
    tokens = request.prompt_tokens()
    usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens)
    model = _encoder.encode(request.model)
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (data, model, usage)


def vector(item: str | Tokens, length: int) -> bytes:
    """Return the vector of an input as a JSON array."""
    return _as_floats(_bits(item, length), length)


def _bits(item: str | Tokens, length: int) -> bytes:
    return hashlib.shake_128(_encoder.encode(item)).digest(-(-length // 8))


def _as_base64(bits: bytes, length: int) -> bytes:
    floats = b"".join(map(_float_bytes(length).__getitem__, bits))
    return b'"' + b64encode(floats[: 4 * length]) + b'"'


def _as_floats(bits: bytes, length: int) -> bytes:
    texts = b"".join(map(_float_texts(length).__getitem__, bits))
    return b"[" + texts[: length * (len(texts) // (8 * len(bits)))].rstrip(b" ,") + b"]"


def _components(byte: int, length: int) -> list[float]:
    size = 1 / length**0.5
    return [size if byte >> bit & 1 else -size for bit in range(8)]


@lru_cache(maxsize=16)
def _float_bytes(length: int) -> list[bytes]:
    """Return for each byte of a hash its eight components as little-endian float32."""
    return [struct.pack("<8f", *_components(byte, length)) for byte in range(256)]


@lru_cache(maxsize=16)
def _float_texts(length: int) -> list[bytes]:
    """Return for each byte of a hash its eight components as JSON: equally wide, with commas."""
    return [
        "".join(f"{value: .9f}," for value in _components(byte, length)).encode()
        for byte in range(256)
    ]
