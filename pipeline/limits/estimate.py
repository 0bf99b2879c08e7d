"""A guess at a request's tokens, made at every way in; what the provider counts corrects it.

It looks at bytes alone: a tokenizer would cost more than the whole rest of the way in. What
matters is that more text never weighs less; by how much it is wrong is learned per deployment.
"""

import re
from typing import Final

import msgspec

from pipeline.event import NO_BODY

#: What an image, a sound or a document is taken for, whatever its size: providers count its
#: pixels, seconds or pages, which its bytes do not tell.
MEDIA_TOKENS: Final = 1_000

#: Beyond any limit, and exact in the numbers of Redis's scripts.
MOST_TOKENS: Final = 1_000_000_000

#: Where base64 begins: in a `data:` URL, or in the field `data` of a part.
_MEDIA: Final = re.compile(rb';base64,|"data": ?"')
#: Shorter base64 is as good as text.
_MEDIA_BYTES: Final = 64

_ASCII: Final = bytes(range(128))


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a body says of its answer's length; the first that is a number counts."""

    max_completion_tokens: object = None
    max_tokens: object = None
    max_output_tokens: object = None
    #: How many answers are wanted.
    n: object = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a request: of its prompt, about; of its answer at the most, 0 where unsaid."""

    prompt_tokens: int
    output_tokens: int = 0


_decode_bounds: Final = msgspec.json.Decoder(Bounds).decode


def of_chat(body: bytes, bounds: Bounds | None = None) -> Estimate:
    """Estimate a chat body, of which the bounds are read unless they are known."""
    asked = _bounds(body) if bounds is None else bounds
    return Estimate(prompt_tokens=text_tokens(body), output_tokens=_output_tokens(asked))


def of_embeddings(body: bytes, given: msgspec.Raw = NO_BODY) -> Estimate:
    """Estimate an embeddings body; `given` is its `input`, which may be tokens already."""
    counted = _given_tokens(bytes(memoryview(given)))
    return Estimate(prompt_tokens=text_tokens(body) if counted is None else counted)


def text_tokens(body: bytes) -> int:
    """Guess the tokens of JSON: one for 4 bytes of ASCII, one for 3 of any other script.

    A body is taken whole, as nearly all of it is prompt: messages, tools, schemas.
    """
    # Quotes are the most of JSON's punctuation. One within a text is escaped by another byte.
    size = len(body) - body.count(b'"')
    media = 0
    if b";base64," in body or b'"data":' in body:
        media, media_bytes = _media(body)
        size -= media_bytes
    other = 0 if body.isascii() else len(body.translate(None, _ASCII))
    return min((3 * max(size, 0) + other) // 12 + media * MEDIA_TOKENS, MOST_TOKENS)


def _media(body: bytes) -> tuple[int, int]:
    """Count the media in a body, and their bytes.

    `find` passes over megabytes at the speed of memory, where a pattern of base64 takes
    milliseconds for each. A space ends what is a text about such a URL rather than one.
    """
    count = size = at = 0
    while mark := _MEDIA.search(body, at):
        at = mark.end()
        end = body.find(b'"', at)
        end = len(body) if end < 0 else end
        space = body.find(b" ", at, end)
        end = end if space < 0 else space
        if end - at >= _MEDIA_BYTES:
            count, size, at = count + 1, size + end - at, end
    return count, size


def _given_tokens(given: bytes) -> int | None:
    """Count the tokens of an input of token ids; none: it is text."""
    if not given[:64].lstrip(b"[ \t\r\n")[:1].isdigit():
        return None
    return min(given.count(b",") + 1, MOST_TOKENS)


def _bounds(body: bytes) -> Bounds:
    try:
        return _decode_bounds(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Bounds()


def _output_tokens(bounds: Bounds) -> int:
    most = (
        _number(bounds.max_completion_tokens)
        or _number(bounds.max_tokens)
        or _number(bounds.max_output_tokens)
    )
    return min(most * (_number(bounds.n) or 1), MOST_TOKENS)


def _number(value: object) -> int:
    """Read a whole number above 0; 0: it is none, which is the provider's to judge."""
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return max(0, min(value, MOST_TOKENS))
