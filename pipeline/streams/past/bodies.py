"""Finds the bodies of requests that have ended: `done` keeps none.

A small one stands in the entry by which its request came, a large one under a key of its own;
both have their time, and then it is gone.
"""

from collections.abc import Sequence
from typing import cast

import msgspec
import redis

from pipeline.event import Event
from pipeline.names import Lane, Names
from pipeline.streams import intake


class Past(msgspec.Struct, frozen=True):
    """An ended event and what is left of its body: the text, or that it is stored."""

    event: Event
    body: bytes
    is_stored: bool

    @property
    def has_body(self) -> bool:
        """Tell whether anything has kept the body."""
        return self.is_stored or bool(self.body)


#: Entries as redis-py gives them.
_Rows = list[tuple[bytes, dict[bytes, bytes]]]


def find(
    client: redis.Redis, names: Names, ended: Sequence[Event], default_model: str = ""
) -> list[Past]:
    """Find the bodies of events, in two round trips.

    Left out are events whose record tells another status than they do: they have ended otherwise
    since, or are under way again.
    """
    if not ended:
        return []
    with client.pipeline(transaction=False) as pipe:
        for event in ended:
            pipe.hmget(names.record(event.id), "status", "entry")
        records = cast("list[list[bytes | None]]", pipe.execute())
    wanted: list[tuple[Event, str]] = []
    for event, (status, entry) in zip(ended, records, strict=True):
        if status is None or status.decode() == event.status:
            wanted.append((event, event.entry or (entry or b"").decode()))
    return _bodies(client, names, wanted, default_model)


def _bodies(
    client: redis.Redis, names: Names, wanted: list[tuple[Event, str]], default_model: str
) -> list[Past]:
    with client.pipeline(transaction=False) as pipe:
        for event, place in wanted:
            lane, _, entry = place.partition(":")
            pipe.exists(names.body(event.id))
            pipe.xrange(f"{names.prefix}:requests:{lane}", entry or "-", entry or "-")
        told = cast("list[int | _Rows]", pipe.execute())
    found = []
    for (event, place), stored, rows in zip(wanted, told[::2], told[1::2], strict=True):
        body = _body_in(cast("_Rows", rows), event, place, default_model) if rows else b""
        found.append(Past(event, body, bool(stored) and not body))
    return found


def _body_in(rows: _Rows, event: Event, place: str, default_model: str) -> bytes:
    """Read the body in an entry of a lane; nothing when it is not this event's."""
    lane, _, entry = place.partition(":")
    fields = [part for pair in rows[0][1].items() for part in pair]
    try:
        came = intake.read(
            fields, lane=cast("Lane", lane), entry=entry, default_model=default_model
        )
    except intake.Malformed:
        return b""
    return bytes(came.body) if came.id == event.id and came.has_body else b""
