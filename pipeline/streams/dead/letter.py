"""A dead letter: an event that has left the flow in failure, as its entry in `dead` tells it.

Other programs can write to that stream: an entry that cannot be read is a letter all the same,
which can be listed and purged, but not replayed.
"""

from fnmatch import fnmatchcase
from typing import Final

import msgspec

from pipeline import event as events
from pipeline.errors import Failure
from pipeline.event import Event, Line
from pipeline.names import EVENT_FIELD
from pipeline.streams.link import Reply

#: The cause of a letter that cannot be read.
UNREADABLE: Final = "unreadable"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """An edit of a letter."""

    #: When, in Unix seconds.
    at: float
    #: The entry that it replaced.
    was: str
    #: The fields of the body that were changed; `body` where it was replaced.
    changed: tuple[str, ...]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `dead`."""

    #: The entry's id in the stream; it changes when the letter is edited.
    entry: str
    #: The request's id; empty where it cannot be told.
    id: str
    #: None: the entry cannot be read, and `fault` tells why.
    event: Event | None
    fault: str = ""
    edits: tuple[Note, ...] = ()

    @property
    def at(self) -> float:
        """Tell when the event ended, in Unix seconds."""
        if self.event and self.event.journal:
            return self.event.journal[-1].end
        if self.event and self.event.created:
            return self.event.created
        return int(self.entry.partition("-")[0]) / 1000

    @property
    def cause(self) -> str:
        """Tell why it died, in a word of the error tree, or `unreadable`."""
        if self.event is None:
            return UNREADABLE
        return self.event.failure.cause if self.event.failure else ""


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant; empty: all. Names are case-exact and may be globs."""

    model: str = ""
    tenant: str = ""
    cause: str = ""
    #: By when the event ended, in Unix seconds: not before, and not at or after; 0: no limit.
    since: float = 0.0
    until: float = 0.0

    def admits(self, letter: Letter) -> bool:
        """Tell whether a letter is meant."""
        if letter.at < self.since or (self.until and letter.at >= self.until):
            return False
        model, tenant = (letter.event.model, letter.event.tenant) if letter.event else ("", "")
        wishes = ((self.model, model), (self.tenant, tenant), (self.cause, letter.cause))
        return all(not wish or wish == fact or fnmatchcase(fact, wish) for wish, fact in wishes)


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a listing tells of a letter: the same on the command line and over HTTP."""

    letter: str
    id: str
    #: When the event ended, in Unix seconds.
    at: float
    cause: str
    model: str = ""
    tenant: str = ""
    user: str = ""
    operation: str = ""
    priority: int = 0
    created: float = 0.0
    attempts: int = 0
    #: Seconds of the rungs that it waited on.
    climbed: tuple[int, ...] = ()
    body_bytes: int = 0
    #: Whether something of an answer was delivered: its replay gets an id of its own.
    delivered: bool = False
    replay_of: str = ""
    error: Failure | None = None
    journal: tuple[Line, ...] = ()
    edits: tuple[Note, ...] = ()
    #: Why it cannot be read.
    fault: str = ""


_decode_notes: Final = msgspec.json.Decoder(tuple[Note, ...]).decode


def read(row: Reply) -> Letter:
    """Read an entry as Redis gives it; never fails."""
    entry, flat = row[0].decode(), row[1]
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    named = fields.get(b"id", b"").decode(errors="replace")
    try:
        event = events.decode(fields[EVENT_FIELD.encode()])
        notes = _decode_notes(fields.get(b"edits", b"[]"))
    except KeyError:
        return Letter(entry=entry, id=named, event=None, fault=f"it has no field `{EVENT_FIELD}`")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Letter(entry=entry, id=named, event=None, fault=str(error))
    return Letter(entry=entry, id=event.id, event=event, edits=notes)


def summary(letter: Letter, *, whole: bool = False) -> Summary:
    """Tell of a letter; its journal only if the `whole` is asked for."""
    event = letter.event
    if event is None:
        return Summary(
            letter=letter.entry, id=letter.id, at=letter.at, cause=letter.cause, fault=letter.fault
        )
    return Summary(
        letter=letter.entry,
        id=letter.id,
        at=letter.at,
        cause=letter.cause,
        model=event.model,
        tenant=event.tenant,
        user=event.user,
        operation=event.operation,
        priority=event.priority,
        created=event.created,
        attempts=event.attempts,
        climbed=event.climbed,
        body_bytes=event.body_bytes,
        delivered=event.deltas > 0,
        replay_of=event.replay_of,
        error=event.failure,
        journal=event.journal if whole else (),
        edits=letter.edits,
    )
