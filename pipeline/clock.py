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


def now() -> float:
    """Tell the time of Redis in Unix seconds, as well as this process knows it."""
    return time.time() + _offset_s


def follow(redis_time_s: float) -> None:
    """Set this process's wall clock to Redis's, given in Unix seconds."""
    global _offset_s  # noqa: PLW0603 - one clock in a process is the point
    _offset_s = redis_time_s - time.time()


def new_id() -> str:
    """Make a request id: 12 hex digits of Unix milliseconds, then 80 random bits in hex."""
    return f"{int(now() * 1000):012x}{chance.getrandbits(80):020x}"


def rfc3339(unix_s: float) -> str:
    """Write a point in time as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
