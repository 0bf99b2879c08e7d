"""What a request needs of its deployment, and by what it sticks to one; read at every way in.

A body may have megabytes: it is looked through for the names of images first, and its messages
are read only where one is there.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from pipeline.event import NO_BODY, Need
from pipeline.limits.estimate import Bounds

#: Types of parts that are images, in the forms of chat completions and of responses.
IMAGES: Final = frozenset({"image_url", "input_image"})
#: What stands in the names of all of them.
_MARK: Final = b"image"

#: Hex digits of the hash by which requests are known to belong together.
_DIGITS: Final = 8


class Asks(Bounds, frozen=True, kw_only=True):
    """What a body says of its answer's length, and of what its deployment has to be able to do."""

    messages: msgspec.Raw = NO_BODY
    tools: msgspec.Raw = NO_BODY
    #: What OpenAI had before `tools`.
    functions: msgspec.Raw = NO_BODY
    prompt_cache_key: msgspec.Raw = NO_BODY


class _Part(msgspec.Struct):
    type: object = None


class _Message(msgspec.Struct):
    content: msgspec.Raw = NO_BODY


_decode_asks: Final = msgspec.json.Decoder(Asks).decode
_decode_messages: Final = msgspec.json.Decoder(list[_Message]).decode
_decode_parts: Final = msgspec.json.Decoder(list[_Part]).decode


def asks_of(body: bytes) -> Asks:
    """Read what a body asks; what cannot be read asks nothing."""
    try:
        return _decode_asks(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Asks()


def needs_of(asked: Asks) -> tuple[Need, ...]:
    """Tell what the deployment of a chat has to be able to do."""
    needs: tuple[Need, ...] = ("vision",) if _has_image(asked.messages) else ()
    return (*needs, "tools") if _is_filled(asked.tools) or _is_filled(asked.functions) else needs


def cache_key_of(asked: Asks) -> str:
    """Hash a body's `prompt_cache_key`; empty: it has none."""
    key = bytes(memoryview(asked.prompt_cache_key))
    return sticky_hash(b"key", key) if len(key) > 2 and key.startswith(b'"') else ""


def sticky_hash(kind: bytes, text: bytes) -> str:
    """Hash what requests have in common, so that the event does not tell it."""
    return hashlib.sha256(kind + b"\0" + text).hexdigest()[:_DIGITS]


def _has_image(messages: msgspec.Raw) -> bool:
    text = bytes(memoryview(messages))
    if _MARK not in text:
        return False
    try:
        return any(part.type in IMAGES for part in _parts(text) if isinstance(part.type, str))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # No form that we know: the provider judges it.
        return False


def _parts(messages: bytes) -> Iterator[_Part]:
    for message in _decode_messages(messages):
        content = bytes(memoryview(message.content))
        if content.startswith(b"[") and _MARK in content:
            yield from _decode_parts(content)


def _is_filled(value: msgspec.Raw) -> bool:
    """Tell whether a field is a list with something in it."""
    beginning = bytes(memoryview(value)[:64])
    return beginning.startswith(b"[") and bool(beginning.strip(b"[] \t\r\n"))
