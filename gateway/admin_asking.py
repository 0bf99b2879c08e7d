"""What operators ask of the routes below `/admin`: filters, edits, and how much is done at once."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from gateway.exchange import Exchange
from pipeline import clock
from pipeline.errors import BadRequest
from pipeline.event import NO_BODY
from pipeline.streams.dead.changes import Changes
from pipeline.streams.dead.letter import LetterFilter
from pipeline.streams.rungs import ClimberFilter
from pipeline.times import parse_time

T = TypeVar("T")

#: Letters or events that one answer tells of, or changes, at the most.
MOST: Final = 1000
USUAL: Final = 100

#: One request works no longer than this, in seconds; the next one goes on.
BUDGET_S: Final = 10.0

#: Pause before looking again whether the gate has emptied.
_FULL_S: Final = 0.05

#: Batches a second of what has a rate: as smooth as it need be.
_BATCHES_A_SECOND: Final = 10

#: A point in time: RFC 3339, Unix seconds as a number or text, or an age such as `2h`.
Time = str | float
Limit = Annotated[int, Meta(ge=1, le=MOST)]
#: A second: slower than one in five would not fit into what one request works.
Rate = Annotated[float, Meta(ge=0.2)]


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all bodies are: strict about their keys."""


class Edit(_Form, frozen=True, kw_only=True):
    """What is to be changed in a letter: single fields, a whole new body, another model."""

    set: Mapping[str, object] = {}
    body: msgspec.Raw = NO_BODY
    to_model: str = ""

    def changes(self) -> Changes | None:
        """Give the edit; None: nothing is to be changed."""
        fields = {**self.set, "model": self.to_model} if self.to_model else self.set
        changes = Changes(fields=fields, body=bytes(self.body))
        return changes if changes.names else None


class Selection(_Form, frozen=True, kw_only=True):
    """Who is meant, and how much is done of it by one request."""

    ids: Annotated[tuple[str, ...], Meta(max_length=MOST)] = ()
    model: str = ""
    tenant: str = ""
    cause: str = ""
    #: Everyone, where no filter is given.
    all: bool = False
    rate: Rate | None = None
    limit: Limit = MOST
    dry_run: bool = False
    #: Where an earlier request has ended.
    after: str = ""

    @property
    def filters(self) -> bool:
        """Whether it names a filter."""
        return bool(self.model or self.tenant or self.cause)

    def require(self) -> None:
        """Refuse what leaves in the dark who is meant. Raises `BadRequest`."""
        if bool(self.ids) == (self.filters or self.all):
            raise BadRequest("Name 'ids', or give a filter such as 'model', or say 'all': true.")


class DeadSelection(Selection, frozen=True, kw_only=True):
    """Which dead letters are meant, by their entry ids, their requests' ids, or a filter."""

    since: Time = ""
    until: Time = ""

    @property
    def filters(self) -> bool:
        """Whether it names a filter."""
        return bool(super().filters or self.since or self.until)

    def wanted(self) -> LetterFilter:
        """Give the filter. Raises `BadRequest`."""
        return LetterFilter(
            model=self.model,
            tenant=self.tenant,
            cause=self.cause,
            since=time_of(self.since),
            until=time_of(self.until),
        )


class DeadReplay(DeadSelection, frozen=True, kw_only=True):
    """Which dead letters are to be replayed, and with what changes."""

    set: Mapping[str, object] = {}
    to_model: str = ""

    def changes(self) -> Changes | None:
        """Give the edit; None: nothing is to be changed."""
        return Edit(set=self.set, to_model=self.to_model).changes()


class LadderSelection(Selection, frozen=True, kw_only=True):
    """Which events on the ladder are meant, by their requests' ids or a filter."""

    rung: int = 0

    @property
    def filters(self) -> bool:
        """Whether it names a filter."""
        return bool(super().filters or self.rung)

    def wanted(self, before: float) -> ClimberFilter:
        """Give the filter: only of who has climbed before a time, in Unix seconds."""
        return ClimberFilter(
            model=self.model, tenant=self.tenant, cause=self.cause, rung=self.rung, before=before
        )


class Course:
    """What one request does of much: a batch at a time, at a rate, for `BUDGET_S` at most."""

    def __init__(self, rate: float | None, most: int) -> None:
        #: How many at once.
        self.size = max(1, min(most, int(rate / _BATCHES_A_SECOND))) if rate else most
        self._rate = rate
        self._begun = clock.monotonic()

    async def turn(self, done: int) -> bool:
        """Wait until more than so many may be done; tells whether there is time for them."""
        due_s = done / self._rate if self._rate else 0.0
        if max(due_s, clock.monotonic() - self._begun) >= BUDGET_S:
            return False
        await asyncio.sleep(max(0.0, self._begun + due_s - clock.monotonic()))
        return True

    async def pause(self) -> None:
        """Wait a moment for the gate to empty."""
        await asyncio.sleep(_FULL_S)


def time_of(written: Time) -> float:
    """Read a point in time; empty: 0. Raises `BadRequest`."""
    return parse_time(str(written), clock.now()) if written else 0.0


async def read(exchange: Exchange, decoder: msgspec.json.Decoder[T], most_bytes: int) -> T:
    """Read the body, which may be left out. Raises `BadRequest` and `BodyTooLarge`."""
    body = await exchange.body(most_bytes)
    try:
        return decoder.decode(body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is not what this route takes: {error}") from None


def limit_of(exchange: Exchange) -> int:
    """Read how many a page may hold. Raises `BadRequest`."""
    text = exchange.query("limit")
    if text and not (text.isdecimal() and len(text) < 8 and 1 <= int(text) <= MOST):
        raise BadRequest(f"'limit' is a number from 1 to {MOST}.", param="limit")
    return int(text) if text else USUAL
