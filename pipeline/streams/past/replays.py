"""What is known of a replay: what was asked, and how far it has come.

All of it stands in one hash in Redis, so that a replay can be resumed by its name.
"""

from typing import Final, cast

import msgspec
import redis

from pipeline import clock
from pipeline.errors import RequestNotFound
from pipeline.event import Event
from pipeline.names import MIN_PRIORITY, Names

#: A time's text without its punctuation.
_PLAIN: Final = str.maketrans("T", "-", "-:")

#: How long the progress of a finished replay can be looked at, in seconds.
FINISHED_S: Final = 86_400

#: How long one that was interrupted can be resumed, in seconds.
UNFINISHED_S: Final = 604_800

#: By how much the clocks may differ that wrote `created` and the entry, in seconds.
_SKEW_S: Final = 60.0


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which events are replayed, and as what; empty: any."""

    #: When they were created, in Unix seconds.
    since: float
    until: float
    model: str = ""
    tenant: str = ""
    status: str = ""
    #: The model that is asked instead.
    to_model: str = ""
    shadow: bool = False
    priority: int = MIN_PRIORITY
    #: Most events to replay; 0: all.
    limit: int = 0

    def admits(self, event: Event) -> bool:
        """Tell whether an ended event is to be replayed; what is itself a replay never is."""
        if event.shadow or event.replay_of or not self.since <= event.created <= self.until:
            return False
        wanted = (
            (self.model, event.model),
            (self.tenant, event.tenant),
            (self.status, event.status),
        )
        return all(not wish or wish == fact for wish, fact in wanted)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay has come; times are Unix seconds."""

    name: str
    asked: Asked
    started: float
    #: When it last took a step.
    updated: float
    #: 0: it is not finished.
    finished: float = 0.0
    #: Entries of `done` between which it looks, and the last that it has looked at.
    first: str
    end: str
    cursor: str
    #: Ended events that it has looked at, and those among them that were asked for.
    seen: int = 0
    matched: int = 0
    #: What became of those: taken into the flow, or left out for one of three reasons.
    replayed: int = 0
    #: Taken before: a request that ended twice stands twice in `done`.
    repeated: int = 0
    #: Nothing has kept their bodies.
    without_body: int = 0
    #: They have ended otherwise since, or are under way again.
    superseded: int = 0

    @property
    def share(self) -> float:
        """Tell by the time that its entries span which part is behind it, from 0 to 1."""
        if self.finished:
            return 1.0
        first, end, cursor = (
            int(at.partition("-")[0]) for at in (self.first, self.end, self.cursor)
        )
        return min(1.0, max(0.0, (cursor - first) / (end - first))) if end > first else 0.0


def begin(client: redis.Redis, names: Names, asked: Asked, *, dry_run: bool = False) -> Progress:
    """Note a new replay, which goes up to what has ended by now; a dry run is not noted."""
    now = clock.now()
    offset_s = float(cast("bytes | None", client.get(names.clock)) or 0)
    # An entry's id never lies before the time it came, whatever the clock did; what has ended
    # was created before that.
    first = f"{max(0, int((asked.since - max(0.0, offset_s) - _SKEW_S) * 1000))}-0"
    latest = cast("list[tuple[bytes, object]]", client.xrevrange(names.done, count=1))
    progress = Progress(
        name=f"{clock.rfc3339(now)[:19].translate(_PLAIN)}-{clock.new_id()[-4:]}",
        asked=asked,
        started=now,
        updated=now,
        first=first,
        end=latest[0][0].decode() if latest else first,
        cursor=first,
    )
    if not dry_run:
        _note(client, names, progress)
    return progress


def _note(client: redis.Redis, names: Names, progress: Progress) -> None:
    told: list[str | bytes] = ["asked", msgspec.json.encode(progress.asked)]
    for field in ("name", "started", "updated", "first", "end", "cursor"):
        told += [field, str(getattr(progress, field))]
    with client.pipeline() as pipe:
        pipe.hset(names.replay(progress.name), items=told)
        pipe.expire(names.replay(progress.name), UNFINISHED_S)
        pipe.zadd(names.replays, {progress.name: progress.started})
        pipe.execute()


def read(client: redis.Redis, names: Names, name: str) -> Progress:
    """Read how far a replay has come. Raises `RequestNotFound`."""
    told = cast("dict[bytes, bytes]", client.hgetall(names.replay(name)))
    if not told:
        raise RequestNotFound(f"no replay {name} is known: `sluice replay list` names them")
    facts: dict[str, object] = {field.decode(): value.decode() for field, value in told.items()}
    facts["asked"] = msgspec.json.decode(told[b"asked"])
    # Everything in a hash is text: numbers among it are read as such.
    return msgspec.convert(facts, Progress, strict=False)


def known(client: redis.Redis, names: Names) -> list[Progress]:
    """List the replays of late, the oldest first; forgets those whose time has come."""
    found = []
    for name in cast("list[bytes]", client.zrange(names.replays, 0, -1)):
        try:
            found.append(read(client, names, name.decode()))
        except RequestNotFound:
            client.zrem(names.replays, name)
    return found
