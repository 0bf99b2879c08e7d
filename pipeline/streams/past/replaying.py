"""Replays past events: reads `done` page by page and takes what is asked for into the flow anew.

Each batch and the place that it leads to are written in one step, so that a replay goes on where
it was, whatever ended it. What is known of a replay is in `replays`, how the bodies of what has
ended are found in `bodies`.
"""

from collections import deque
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, cast

import msgspec
import redis

from pipeline import clock
from pipeline import event as events
from pipeline.event import Event
from pipeline.names import EVENT_FIELD, Names
from pipeline.streams.batch import MAX_BYTES
from pipeline.streams.ingress import record_fields
from pipeline.streams.link import Argument
from pipeline.streams.past import bodies
from pipeline.streams.past.bodies import Past
from pipeline.streams.past.replays import FINISHED_S, UNFINISHED_S, Progress, read
from pipeline.streams.scripts import load

REPLAY: Final = load("pipeline.streams.past", "replay")

#: Events taken into the flow in one call of the script at the most: a bound on its time in Redis.
BATCH: Final = 64

#: Ended events read at once.
PAGE: Final = 256

#: A replay holds back while so many events wait for capacity: it is to fill no waiting room.
MAX_WAITING: Final = 1000


class _Batch(msgspec.Struct, frozen=True):
    """What one step takes in."""

    events: list[Event]
    cursor: str
    seen: int
    #: Nothing is left behind it.
    last: bool


class Replay:
    """One replay, from wherever it stands to its end."""

    def __init__(
        self, client: redis.Redis, names: Names, progress: Progress, default_model: str = ""
    ) -> None:
        self.progress = progress
        self._client = client
        self._names = names
        self._default_model = default_model
        self._rows: deque[tuple[str, Event | None]] = deque()
        self._read = progress.cursor

    def step(self, most: int = BATCH) -> bool:
        """Take the next events in, at most so many; tells whether any may be left.

        Raises `RequestNotFound` when nothing is known of the replay any more.
        """
        batch, past, superseded = self._look(most)
        args = self._arguments(batch, past, superseded)
        if not self._client.eval(REPLAY.text, 1, self._names.prefix, *args):
            # Somebody else has resumed it, too: go on from where it is now.
            self._rows.clear()
        self.progress = read(self._client, self._names, self.progress.name)
        if not self._rows:
            self._read = self.progress.cursor
        return not self.progress.finished

    def rehearse(self) -> None:
        """Go the whole way and count, but take nothing in and leave no trace."""
        met: set[str] = set()
        while not self.progress.finished:
            batch, past, superseded = self._look(BATCH)
            fresh = {one.event.id for one in past if one.has_body} - met
            met |= fresh
            before, last = self.progress, batch.last
            self.progress = msgspec.structs.replace(
                before,
                cursor=batch.cursor,
                seen=before.seen + batch.seen,
                matched=before.matched + len(batch.events),
                replayed=before.replayed + len(fresh),
                repeated=before.repeated + sum(one.has_body for one in past) - len(fresh),
                without_body=before.without_body + sum(not one.has_body for one in past),
                superseded=before.superseded + superseded,
                finished=clock.now() if last else 0.0,
            )

    def is_held_back(self, most: int = MAX_WAITING) -> bool:
        """Tell whether so many events wait for capacity that more would only fill the room."""
        return int(self._client.hlen(self._names.parked)) >= min(most, MAX_WAITING)

    def _look(self, most: int) -> tuple[_Batch, list[Past], int]:
        batch = self._gather(most)
        past = bodies.find(self._client, self._names, batch.events, self._default_model)
        return batch, past, len(batch.events) - len(past)

    def _gather(self, most: int) -> _Batch:
        asked, cursor = self.progress.asked, self.progress.cursor
        if asked.limit:
            most = min(most, asked.limit - self.progress.replayed)
        chosen: list[Event] = []
        seen = size = 0
        while len(chosen) < most and seen < PAGE and self._fill():
            entry, event = self._rows[0]
            if event and asked.admits(event):
                size += event.body_bytes
                if chosen and size > MAX_BYTES:
                    break
                chosen.append(event)
            self._rows.popleft()
            cursor, seen = entry, seen + 1
        return _Batch(chosen, cursor, seen, most < 1 or not self._fill())

    def _fill(self) -> bool:
        """See to it that an ended event is at hand; tells whether there is one."""
        if not self._rows:
            found = self._client.xrange(
                self._names.done, f"({self._read}", self.progress.end, count=PAGE
            )
            rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
            self._rows.extend((entry.decode(), _event_in(fields)) for entry, fields in rows)
            if self._rows:
                self._read = self._rows[-1][0]
        return bool(self._rows)

    def _arguments(self, batch: _Batch, past: list[Past], superseded: int) -> Iterator[Argument]:
        progress = self.progress
        bodiless = sum(not one.has_body for one in past)
        yield from (self._names.prefix, progress.name, progress.cursor, batch.cursor)
        yield from (FINISHED_S if batch.last else UNFINISHED_S, f"{clock.now():.6f}")
        yield from (int(batch.last), batch.seen, len(batch.events), bodiless, superseded)
        for one in past:
            if one.has_body:
                yield from self._entrance(one)

    def _entrance(self, past: Past) -> Iterator[Argument]:
        """Give the script's arguments for one event."""
        old, progress = past.event, self.progress
        event = renewed(old, progress)
        travels = 0 < len(past.body) <= events.INLINE_BYTES
        if travels:
            event = msgspec.structs.replace(event, body=msgspec.Raw(past.body))
        stored = b"=" if past.is_stored else b"" if travels else past.body
        fields = record_fields(event)
        yield from (event.lane, old.id, event.id, events.encode(event), stored, event.session)
        yield from (int(not event.shadow), len(fields) // 2, *fields)


def renewed(old: Event, progress: Progress) -> Event:
    """Make the new event of a past one, without its body.

    Its id follows from the replay and the old id; nobody waits for it, so it has no deadline and
    may climb the ladder. A shadow belongs to no tenant, so that nobody's limits are charged.
    """
    asked = progress.asked
    digest = sha256(f"{progress.name}:{old.id}".encode()).hexdigest()
    fresh = Event(
        id=f"{int(progress.started * 1000):012x}{digest[:20]}",
        operation=old.operation,
        model=asked.to_model or old.model,
        body_bytes=old.body_bytes,
        stream=old.stream,
        include_usage=old.include_usage,
        priority=asked.priority,
        created=clock.now(),
        patient=True,
        prompt_tokens=old.prompt_tokens,
        output_tokens=old.output_tokens,
        needs=old.needs,
        metadata=old.metadata,
        replay_of=old.id,
        shadow=asked.shadow,
        undecided=True,
        linked=old.trace.root if old.trace else "",
    )
    if asked.shadow:
        return fresh
    return msgspec.structs.replace(
        fresh,
        tenant=old.tenant,
        user=old.user,
        token=old.token,
        session=old.session,
        reply_to=old.reply_to,
    )


def _event_in(fields: dict[bytes, bytes]) -> Event | None:
    try:
        return events.decode(fields.get(EVENT_FIELD.encode(), b""))
    except msgspec.MsgspecError:
        return None
