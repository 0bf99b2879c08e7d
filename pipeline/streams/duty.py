"""Duties that one worker does for all: whoever comes first has the turn."""

import redis.exceptions

from pipeline.streams.link import Link


async def is_my_turn(link: Link, key: str, turn_s: float) -> bool:
    """Take a turn of so many seconds, if nobody has it; with 0 all have it.

    A Redis that is full lets all do the duty.
    """
    if not turn_s:
        return True
    try:
        taken = await link.call("SET", key, "", "NX", "PX", max(1, int(turn_s * 1000)))
    except redis.exceptions.OutOfMemoryError:
        return True
    return taken is not None
