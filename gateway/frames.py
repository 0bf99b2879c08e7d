"""The frames of our own streams: WIRE.md 12's for readers of text, chunks as they are for others.

Each frame carries the id by which a reader resumes behind it. The id of a frame is that of the
reply's entry; a chunk that is not its entry's last one has its place there behind a dot.
"""

import math
import re
from typing import Final, Protocol

import msgspec

from gateway.errors import error_body, error_json
from gateway.sse import event
from gateway.waiting import Spot
from pipeline.content import content_of
from pipeline.errors import BadRequest, Failure
from pipeline.event import Usage
from pipeline.streams.inbox import CLOSING, TURN, Frame

_PLACE: Final = re.compile(r"(\d{1,18})-(\d{1,18})(?:\.(\d{1,9}))?")


class Place(msgspec.Struct, frozen=True):
    """A place in the replies of a session: everything up to it has been read."""

    generation: int = 0
    number: int = 0
    #: Chunks that were read of the entry behind it.
    chunks: int = 0

    @property
    def entry(self) -> str:
        """The last entry that was read whole."""
        return f"{self.generation}-{self.number}"

    @property
    def turn(self) -> int:
        """Which request of its session it lies in; 0: before the first."""
        return self.generation // TURN

    @property
    def ends_turn(self) -> bool:
        """Whether that request's closing has been read."""
        return self.generation % TURN == CLOSING


def place_of(text: str) -> Place:
    """Read a place from a frame's id; empty text is the beginning. Raises `BadRequest`."""
    if not text:
        return Place()
    found = _PLACE.fullmatch(text)
    if not found:
        raise BadRequest(f"`{text[:60]}` is no id of a frame; give one as it came.", param="after")
    generation, number, chunk = int(found[1]), int(found[2]), found[3]
    if chunk is None:
        return Place(generation, number)
    return Place(generation, number - 1, int(chunk))


class Form(Protocol):
    """How a reply is shown to a reader."""

    def delta(self, frame: Frame, skip: int, /) -> bytes:
        """Show a delta, without so many of its chunks."""
        ...

    def ended(self, frame: Frame, usage: Usage | None, /) -> bytes:
        """Show that the request was answered."""
        ...

    def failed(self, entry: str, failure: Failure, /) -> bytes:
        """Show that it was not; `entry` is empty where this is not the reply's own end."""
        ...

    def restart(self) -> bytes:
        """Show that what was shown of this answer so far no longer counts."""
        ...

    def gap(self) -> bytes:
        """Show that something before this is gone for good."""
        ...

    def waiting(self, spot: Spot, /) -> bytes:
        """Show the place in the waiting room; it may be shown again and again."""
        ...


class Plain:
    """The frames of `/chat` and `/stream`: text, and how it ended."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def delta(self, frame: Frame, skip: int, /) -> bytes:
        """Show the text of a delta as one frame; nothing where it has none."""
        lines = frame.lines
        if skip:
            lines = b"\n".join(lines.split(b"\n")[skip:])
        content = content_of(lines)
        if not content:
            return b""
        return self._frame(
            frame.entry, {"type": "chunk", "content": content, "task_id": self._request_id}
        )

    def ended(self, frame: Frame, usage: Usage | None, /) -> bytes:
        """Show the end and the usage."""
        return self._frame(frame.entry, {"type": "complete", "usage": usage})

    def failed(self, entry: str, failure: Failure, /) -> bytes:
        """Show the error."""
        error = error_body(failure, self._request_id)
        return self._frame(entry, {"type": "error", "error": error})

    def restart(self) -> bytes:
        """Show the restart, without an id: resuming behind it must not miss what follows."""
        return self._frame("", {"type": "restart"})

    def gap(self) -> bytes:
        """Show the gap."""
        return event("", b'{"type":"gap"}', "gap")

    def waiting(self, spot: Spot, /) -> bytes:
        """Show the place, without an id: it is no part of the reply."""
        return event("", _waiting(spot))

    def _frame(self, entry: str, frame: dict[str, object]) -> bytes:
        return event(entry, msgspec.json.encode(frame))


class Text:
    """The text alone, for `Accept: text/plain`."""

    def delta(self, frame: Frame, _skip: int, /) -> bytes:
        """Give the text of a delta."""
        return content_of(frame.lines).encode()

    def ended(self, _frame: Frame, _usage: Usage | None, /) -> bytes:
        """Give nothing: the end of the text is the end."""
        return b""

    def failed(self, _entry: str, failure: Failure, /) -> bytes:
        """Give the error as a last line."""
        return f"\n[error: {failure.message}]\n".encode()

    def restart(self) -> bytes:
        """Give a line that says so: text that was read cannot be taken back."""
        return b"\n[the answer begins anew]\n"

    def gap(self) -> bytes:
        """Give a line that says so."""
        return b"\n[something is missing here]\n"

    def waiting(self, _spot: Spot, /) -> bytes:
        """Give nothing: it is not of the text."""
        return b""


class Chunks:
    """The provider's chunks, as they went to the client of the OpenAI stream, with ids."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def delta(self, frame: Frame, skip: int, /) -> bytes:
        """Show each chunk in a frame of its own."""
        lines = frame.lines.split(b"\n")
        last = len(lines)
        return b"".join(
            event(frame.entry if place == last else f"{frame.entry}.{place}", line)
            for place, line in enumerate(lines, 1)
            if place > skip
        )

    def ended(self, frame: Frame, _usage: Usage | None, /) -> bytes:
        """Show OpenAI's end of a stream."""
        return event(frame.entry, b"[DONE]")

    def failed(self, entry: str, failure: Failure, /) -> bytes:
        """Show OpenAI's error in a stream."""
        return event(entry, error_json(failure, self._request_id))

    def restart(self) -> bytes:
        """Show the restart, under a name that no chunk has."""
        return event("", b'{"type":"restart"}', "restart")

    def gap(self) -> bytes:
        """Show the gap, under a name that no chunk has."""
        return event("", b'{"type":"gap"}', "gap")

    def waiting(self, spot: Spot, /) -> bytes:
        """Show the place, under a name that no chunk has."""
        return event("", _waiting(spot), "waiting")


def _waiting(spot: Spot) -> bytes:
    eta_s = None if spot.eta_s is None else math.ceil(spot.eta_s)
    frame = {"type": "waiting", "position": spot.position, "eta_s": eta_s}
    return msgspec.json.encode(frame)
