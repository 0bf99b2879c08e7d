"""The one place that reads time and draws chance.

Wall time follows Redis: a process that talks to Redis tells this module how far its own clock
is off, so that every journal line and deadline in the system is on one time line.
"""

import random
import time
from datetime import UTC, datetime

#: Seconds to add to this machine's clock to get Redis's; kept by `follow`.
_offset_s = 0.0

#: The process's source of chance. Tests seed it; nothing secret is drawn from it.
chance = random.Random()

monotonic = time.monotonic
sleep = time.sleep
#: This machine's own clock, in Unix seconds: to note when Redis is asked for its time.
asking = time.time


def now() -> float:
    """Tell the time of Redis in Unix seconds, as well as this process knows it."""
    return time.time() + _offset_s


def follow(redis_time_s: float, asked_s: float | None = None) -> None:
    """Set this process's wall clock to Redis's, given in Unix seconds.

    `asked_s` is what `asking` told when Redis was asked. Its answer was true at some moment
    between then and now: while the clock is right for any of them it stays, so that a busy loop,
    which hears the answer late, does not fall behind processes that share its machine.
    """
    global _offset_s  # noqa: PLW0603 - one clock in a process is the point
    least = redis_time_s - time.time()
    most = least if asked_s is None else redis_time_s - asked_s
    _offset_s = min(max(_offset_s, least), most)


def new_id() -> str:
    """Make a request id: 12 hex digits of Unix milliseconds, then 80 random bits in hex."""
    return f"{int(now() * 1000):012x}{chance.getrandbits(80):020x}"


def rfc3339(unix_s: float) -> str:
    """Write a point in time as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
