"""Places in a stream as people name them: its start, its end, an entry's id, or a time."""

import re
from typing import Final, cast

import redis

from pipeline import clock
from pipeline.errors import BadRequest
from pipeline.names import Names
from pipeline.times import parse_time

_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")

#: The greatest second half of an id.
_LAST_OF_MS: Final = 2**64 - 1


def order(entry: str) -> tuple[int, int]:
    """Give what puts ids in order."""
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence)


def following(entry: str) -> str:
    """Give the id that comes next."""
    ms, sequence = order(entry)
    return f"{ms}-{sequence + 1}" if sequence < _LAST_OF_MS else f"{ms + 1}-0"


def preceding(entry: str) -> str:
    """Give the id that comes before; that of the first is itself."""
    ms, sequence = order(entry)
    if sequence:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{_LAST_OF_MS}" if ms else "0-0"


def before(client: redis.Redis, names: Names, key: str, place: str) -> str:
    """Give the id after which a group has to read so that it begins at a place.

    An entry counts as of the time that its id tells, which is the one it came at or, after a
    clock was set back, a later one. Raises `BadRequest` for what is no place.
    """
    if place == "start":
        return "0-0"
    if place == "end":
        return _last_of(client, key)
    if _ID.fullmatch(place):
        return preceding(place)
    try:
        time_s = parse_time(place, clock.now())
    except BadRequest as error:
        raise BadRequest(f"{error.message}; or `start`, `end`, or an entry's id") from None
    offset_s = float(cast("bytes | None", client.get(names.clock)) or 0)
    return preceding(f"{max(0, int((time_s - offset_s) * 1000))}-0")


def _last_of(client: redis.Redis, key: str) -> str:
    if not client.exists(key):
        return "0-0"
    facts = cast("dict[str, bytes]", client.xinfo_stream(key))
    return facts["last-generated-id"].decode()
