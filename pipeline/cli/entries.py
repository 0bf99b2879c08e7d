"""Stream entries as the command reads them, with the types that redis-py leaves open."""

from collections.abc import Mapping
from typing import cast

import redis
from redis.typing import KeyT, StreamIdT

#: An entry's id and its fields.
Entry = tuple[bytes, dict[bytes, bytes]]


def read_new(
    client: redis.Redis, places: Mapping[bytes, bytes], block_s: float, count: int = 500
) -> list[tuple[bytes, list[Entry]]]:
    """Wait for entries behind a place in each stream; nothing when none came in time."""
    wanted = cast("dict[KeyT, StreamIdT]", dict(places))
    reply = client.xread(wanted, count=count, block=int(block_s * 1000))
    return cast("list[tuple[bytes, list[Entry]]]", reply or [])


def read_range(
    client: redis.Redis, key: str, first: str = "-", last: str = "+", count: int | None = None
) -> list[Entry]:
    """Give the entries from one id to another, at most so many."""
    return cast("list[Entry]", client.xrange(key, first, last, count))


def read_hash(client: redis.Redis, key: str) -> dict[str, bytes]:
    """Give a hash with its fields' names as text."""
    stored = cast("dict[bytes, bytes]", client.hgetall(key))
    return {name.decode(): value for name, value in stored.items()}
