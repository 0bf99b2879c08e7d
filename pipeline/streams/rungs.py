"""The rungs of the ladder as people see them: how each stands, who waits there, who may go now.

The mover takes what falls due; it needs nothing of this.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from pipeline import event as events
from pipeline.errors import BadRequest
from pipeline.event import Event
from pipeline.names import EVENT_FIELD, Names
from pipeline.streams.link import Argument, Link, Reply
from pipeline.streams.mover import MOST_AT_GATE
from pipeline.streams.patience import patiently
from pipeline.streams.scripts import PROMOTE, load

RUNGS: Final = load("pipeline.streams", "rungs")

#: Entries that Redis looks at in one go, and how often for one page.
LOOK: Final = 100
LOOKS: Final = 20

#: Events promoted in one call of the script at the most: a bound on its time in Redis.
PROMOTE_BATCH: Final = 32

#: The cause of an entry that is no event of ours.
UNREADABLE: Final = "unreadable"

_PLACE: Final = re.compile(r"(\d{1,8}):(\d{1,20}-\d{1,20})")
_FIRST: Final = "0-0"


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One rung that is in use."""

    #: How long an event waits there, in seconds.
    rung: int
    count: int
    #: In how many seconds the first event is due; 0: it is overdue.
    next_due_s: float
    #: How long that one has been waiting.
    oldest_s: float


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the ladder stands: the rungs in use, ascending."""

    rungs: list[Rung]
    #: By how much the ladder's clock is ahead of Redis's, in seconds.
    lead_s: float


class Climber(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that waits on a rung: the same on the command line and over HTTP."""

    id: str
    rung: int
    #: When it goes on, in Unix seconds.
    due: float
    #: Why its last call failed.
    cause: str = ""
    error: str = ""
    model: str = ""
    tenant: str = ""
    user: str = ""
    priority: int = 0
    created: float = 0.0
    attempts: int = 0
    leg: int = 0
    #: Seconds of the rungs that it has waited on, this one included.
    climbed: tuple[int, ...] = ()
    replay_of: str = ""


class ClimberFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are meant; empty: all. Names are case-exact and may be globs."""

    model: str = ""
    tenant: str = ""
    cause: str = ""
    #: In seconds; 0: any.
    rung: int = 0
    #: Created not before, in Unix seconds.
    since: float = 0.0
    #: Climbed onto its rung not after, in Unix seconds; 0: no limit.
    before: float = 0.0

    def admits(self, climber: Climber) -> bool:
        """Tell whether an event is meant."""
        if self.before and climber.due - climber.rung > self.before:
            return False
        return self.fits(climber) and _fits(self.cause, climber.cause)

    def fits(self, event: Climber | Event) -> bool:
        """Tell whether an event, on a rung or elsewhere, is one of those that were asked for."""
        return (
            event.created >= self.since
            and _fits(self.model, event.model)
            and _fits(self.tenant, event.tenant)
        )


def _fits(wish: str, fact: str) -> bool:
    return not wish or wish == fact or fnmatchcase(fact, wish)


class Page(msgspec.Struct, frozen=True):
    """Events found, rung by rung and on each by when they are due, and the place to go on."""

    climbers: list[Climber]
    #: Empty: no more.
    after: str


class Rungs:
    """The ladder of one namespace; every method may raise `RedisUnavailable`.

    `known` are the rungs to look at although Redis notes nothing of them, in seconds.
    """

    def __init__(self, link: Link, names: Names, known: Iterable[int] = ()) -> None:
        self._link = link
        self._names = names
        self._known = tuple(known)

    async def stand(self) -> Standing:
        """Tell how the rungs stand."""
        args: list[Argument] = [self._names.prefix, *self._known]
        keys = [self._names.rungs]
        return standing(await patiently(self._link, lambda: self._link.run(RUNGS, keys, args)))

    async def scan(self, wanted: ClimberFilter, *, after: str = "", limit: int = 100) -> Page:
        """Find up to `limit` events behind a place.

        A page may hold fewer, or none, and yet not be the last: a look at a time is bounded.
        Raises `BadRequest` when `after` is no place on a rung.
        """
        first, entry = _place(after)
        stand = await self.stand()
        rungs = [
            one.rung for one in stand.rungs if one.rung >= first and wanted.rung in (0, one.rung)
        ]
        if not rungs or rungs[0] != first:
            entry = _FIRST
        found: list[Climber] = []
        for _ in range(LOOKS):
            if not rungs:
                break
            rows = await self._look(rungs[0], entry)
            for row in rows:
                entry = row[0].decode()
                climber = read(row, rungs[0], stand.lead_s)
                found += [climber] if wanted.admits(climber) else []
                if len(found) == limit:
                    return Page(found, f"{rungs[0]}:{entry}")
            if len(rows) < LOOK:
                rungs, entry = rungs[1:], _FIRST
        return Page(found, f"{rungs[0]}:{entry}" if rungs else "")

    async def promote(self, ids: Sequence[str]) -> int:
        """Let events leave their rungs now; tells how many were on one."""
        promoted = 0
        for at in range(0, len(ids), PROMOTE_BATCH):
            args: list[Argument] = [self._names.prefix, *ids[at : at + PROMOTE_BATCH]]
            promoted += int(await self._promote(args))
        return promoted

    async def gate_is_full(self) -> bool:
        """Tell whether so many stand at the gate that more would be in the way of who comes new."""
        gate = self._names.hop("gate")
        length = await patiently(self._link, lambda: self._link.call("XLEN", gate))
        return int(length) >= MOST_AT_GATE

    async def _promote(self, args: list[Argument]) -> Reply:
        keys = [self._names.rungs]
        return await patiently(self._link, lambda: self._link.run(PROMOTE, keys, args))

    async def _look(self, rung: int, after: str) -> list[Reply]:
        key = self._names.rung(rung)
        found: list[Reply] = await patiently(
            self._link, lambda: self._link.call("XRANGE", key, f"({after}", "+", "COUNT", LOOK)
        )
        return found


def standing(told: Reply) -> Standing:
    """Read what the script tells."""
    (now, lead), *rows = told
    rungs = [
        Rung(
            rung=rung,
            count=count,
            next_due_s=round(max(0, due - now) / 1000, 3),
            oldest_s=round(max(0.0, rung - (due - now) / 1000), 3),
        )
        for rung, count, due in sorted(rows)
    ]
    return Standing(rungs=rungs, lead_s=lead / 1000)


def read(row: Reply, rung: int, lead_s: float) -> Climber:
    """Read an entry of a rung as Redis gives it; never fails."""
    fields = dict(zip(row[1][::2], row[1][1::2], strict=True))
    due = _number(fields.get(b"due", b"")) / 1000 - lead_s
    try:
        event = events.decode(fields.get(EVENT_FIELD.encode(), b""))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        named = fields.get(b"id", b"").decode(errors="replace")
        return Climber(id=named, rung=rung, due=due, cause=UNREADABLE, error=str(error))
    return Climber(
        id=event.id,
        rung=rung,
        due=due,
        cause=event.failure.cause if event.failure else "",
        error=event.failure.message if event.failure else "",
        model=event.model,
        tenant=event.tenant,
        user=event.user,
        priority=event.priority,
        created=event.created,
        attempts=event.attempts,
        leg=event.leg,
        climbed=event.climbed,
        replay_of=event.replay_of,
    )


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() else 0


def _place(after: str) -> tuple[int, str]:
    if not after:
        return 0, _FIRST
    found = _PLACE.fullmatch(after)
    if found is None:
        raise BadRequest(f"`{after[:100]}` is no place on the ladder")
    return int(found[1]), found[2]
