"""Framing of server-sent events, in the two forms we speak.

OpenAI-shaped streams carry data alone: an `id:` or `event:` there makes official clients fail.
Our own streams carry an `id:` by which a reader resumes.
"""

import math
from typing import Final

from gateway.waiting import Spot

DONE: Final = b"data: [DONE]\n\n"

#: One newline: a blank line would end an event, which clients that know an id then emit empty.
PING: Final = b": ping\n"


def waiting(spot: Spot) -> bytes:
    """Tell a place in the waiting room as a comment, which is a ping."""
    eta = "" if spot.eta_s is None else f" eta_s={math.ceil(spot.eta_s)}"
    return f": waiting position={spot.position}{eta}\n".encode()


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
