"""Every Redis name that Sluice uses, built in one place from the namespace.

All names of one request share one prefix, so that on a cluster they can share one slot:
`{namespace}:…` with one partition, `{namespace}:{p}:…` with more.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

Lane = Literal["high", "default", "low"]

#: The three request streams, in the order in which they are read.
LANES: Final[tuple[Lane, ...]] = get_args(Lane)

#: The field of every stream entry that holds the event as JSON.
EVENT_FIELD: Final = "event"

#: The kinds of scope of our own limits, by the letter before the colon of its name.
SCOPES: Final[Mapping[str, str]] = {"t": "tenant", "u": "user", "x": "token", "m": "model"}

#: Priorities that a request may ask for, and the lane each sign stands for.
MIN_PRIORITY, MAX_PRIORITY = -10, 10


def lane_of(priority: int) -> Lane:
    """Tell the lane of a priority from -10 to 10: above 0 high, 0 default, below 0 low."""
    if priority > 0:
        return "high"
    return "default" if priority == 0 else "low"


class Names:
    """The Redis names of one namespace (and partition, where there is more than one)."""

    def __init__(self, namespace: str = "sluice", partition: int | None = None) -> None:
        self.prefix = namespace if partition is None else f"{namespace}:{partition}"
        #: Limit state has a tag of its own: it is shared by all partitions.
        self.limits = f"{namespace}:limits"
        self.requests: Mapping[Lane, str] = {
            lane: f"{self.prefix}:requests:{lane}" for lane in LANES
        }
        self.done = f"{self.prefix}:done"
        self.dead = f"{self.prefix}:dead"
        #: Hash of events that wait for capacity, by request id.
        self.parked = f"{self.prefix}:parked"
        #: Hash of requests that were woken before they were parked, by when, in Unix seconds.
        self.woken = f"{self.prefix}:woken"
        #: Sorted set of the rungs in use, by when their first event falls due, in Unix ms.
        self.rungs = f"{self.prefix}:rungs"
        #: Sorted set of the replays that are known, by when they began, in Unix seconds.
        self.replays = f"{self.prefix}:replays"
        #: Results of replays that no client is to see.
        self.shadow = f"{self.prefix}:shadow"
        #: Set of consumer names that have been seen; who has no liveness key is dead.
        self.workers = f"{self.prefix}:workers"
        #: Lapses when no worker at all has given a sign of life for a while.
        self.pulse = f"{self.prefix}:pulse"
        #: Sorted set of gateways by the Unix time of their latest sign of life.
        self.gateways = f"{self.prefix}:gateways"
        #: Hash of counters that only `status` reads (refused transitions, claims …).
        self.counters = f"{self.prefix}:counters"
        #: The version of the configuration that was published last, and the reload's own id.
        self.config = f"{self.prefix}:config"
        #: Offset in seconds to Redis's own time; absent outside tests.
        self.clock = f"{self.prefix}:clock"

    def hop(self, hop: str) -> str:
        """Name the stream that a hop reads (route reads `requests` instead)."""
        return f"{self.prefix}:{hop}"

    def rung(self, seconds: int) -> str:
        """Name the stream of the events that wait on a rung of the ladder."""
        return f"{self.prefix}:rung:{seconds}"

    def idempotency(self, key: str) -> str:
        """Name the hash of an idempotency key, given as the hash of tenant, route and key."""
        return f"{self.prefix}:idempotency:{key}"

    def replay(self, name: str) -> str:
        """Name the hash that tells how far a replay has come."""
        return f"{self.prefix}:replay:{name}"

    def record(self, request_id: str) -> str:
        """Name the hash that tells a request's state and, at last, its response."""
        return f"{self.prefix}:request:{request_id}"

    def reply(self, request_id: str) -> str:
        """Name the stream of a request's deltas and its closing."""
        return f"{self.prefix}:reply:{request_id}"

    def body(self, request_id: str) -> str:
        """Name the string that holds a request's body when it is too large to travel."""
        return f"{self.prefix}:body:{request_id}"

    def session(self, session_id: str) -> str:
        """Name the list of the request ids of a session, oldest first."""
        return f"{self.prefix}:session:{session_id}"

    def worker(self, consumer: str) -> str:
        """Name the liveness key of a worker process."""
        return f"{self.prefix}:worker:{consumer}"

    def taken(self, reload: str) -> str:
        """Name the hash in which each process tells what came of a reload."""
        return f"{self.prefix}:config:{reload}"

    def inbox(self, gateway: str) -> str:
        """Name the stream through which a gateway process hears of its requests."""
        return f"{self.prefix}:inbox:{gateway}"
