"""Framing of server-sent events, in the two forms we speak.

OpenAI-shaped streams carry data alone: an `id:` or `event:` there makes official clients fail.
Our own streams carry an `id:` by which a reader resumes.
"""

import re
from typing import Final

import msgspec

DONE: Final = b"data: [DONE]\n\n"

#: One newline: a blank line would end an event, which clients that know an id then emit empty.
PING: Final = b": ping\n"

_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class _Ending(msgspec.Struct):
    """What tells the chunk of the usage from the others."""

    choices: list[msgspec.Raw] | None = None
    usage: dict[str, msgspec.Raw] | None = None


def data(lines: bytes) -> bytes:
    """Frame JSON chunks, one a line, as one event each."""
    return b"data: " + lines.replace(b"\n", b"\n\ndata: ") + b"\n\n"


def event(identity: str, payload: bytes, name: str = "") -> bytes:
    """Frame one JSON payload with the id to resume after (none where empty) and a name."""
    parts = [b"data: ", payload, b"\n\n"]
    if identity:
        parts[:0] = [b"id: ", identity.encode(), b"\n"]
    if name:
        parts[:0] = [b"event: ", name.encode(), b"\n"]
    return b"".join(parts)


def without_usage(lines: bytes) -> bytes:
    """Drop the chunk of the usage, which is always asked for upstream, from chunks, one a line."""
    if b'"usage"' not in lines or not _NO_CHOICES.search(lines):
        return lines
    return b"\n".join(line for line in lines.split(b"\n") if not _is_usage(line))


def _is_usage(line: bytes) -> bool:
    try:
        chunk = msgspec.json.decode(line, type=_Ending)
    except msgspec.MsgspecError:
        return False
    return chunk.choices == [] and bool(chunk.usage)
