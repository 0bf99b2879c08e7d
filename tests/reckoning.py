"""The reckoning after a fault: each accepted request ended once, and nothing is left over."""

import http.client
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypedDict, cast

import msgspec
import redis

from pipeline.flow import HOPS, ROUTE
from pipeline.names import LANES, Names
from pipeline.streams.inbox import CLOSING, TURN
from tests.waiting import eventually

_ENDED = {"completed", "failed", "cancelled"}


class Ended(TypedDict, total=False):
    """An event of `done` or `dead` as far as the tests read it."""

    id: str
    status: str
    attempts: int
    failure: dict[str, object]
    journal: list[dict[str, object]]


def entries(client: redis.Redis, key: str, start: str = "-") -> list[tuple[str, dict[str, str]]]:
    """Read a stream from a place on: entry ids and fields."""
    return cast("list[tuple[str, dict[str, str]]]", client.xrange(key, start))


def events(client: redis.Redis, key: str) -> list[Ended]:
    """Read the JSON of the field `event` of all entries of a stream."""
    return [json.loads(fields["event"]) for _, fields in entries(client, key)]


class Upstream:
    """What reached the simulated provider."""

    def __init__(self, port: int) -> None:
        self._port = port

    def calls(self) -> Counter[str]:
        """Count the calls by our request id."""
        return Counter(cast("dict[str, int]", self._counts()["ids"]))

    def number(self, name: str) -> int:
        """Give one of the counts: total, active, peak …"""
        return cast("int", self._counts()[name])

    def forget(self) -> None:
        """Begin to count anew."""
        self._counts("DELETE")

    def _counts(self, method: str = "GET") -> Mapping[str, object]:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            link.request(method, "/calls")
            found: dict[str, object] = json.loads(link.getresponse().read())
            return found
        finally:
            link.close()


class Reckoning:
    """What Redis says of the requests of one namespace."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self._client = client
        self._names = names

    def ended(self, stream: str = "done") -> list[Ended]:
        """Read all events of `done` or `dead`."""
        return events(self._client, self._names.hop(stream))

    def statuses(self, ids: Collection[str]) -> Counter[str]:
        """Count the requests by their status."""
        with self._client.pipeline(transaction=False) as pipe:
            for request_id in ids:
                pipe.hget(self._names.record(request_id), "status")
            return Counter(status or "unknown" for status in pipe.execute())

    def await_end(self, ids: Collection[str], timeout_s: float = 20.0) -> None:
        """Wait until all have ended."""

        def open_ones() -> dict[str, int]:
            return {s: n for s, n in self.statuses(ids).items() if s not in _ENDED}

        with _telling(open_ones), _telling(self.left_over):
            eventually(lambda: not open_ones(), timeout_s, "the end of all")

    def check(
        self, ids: Collection[str], timeout_s: float = 20.0, gone: Collection[str] = ()
    ) -> None:
        """Check that each ended exactly once and that nothing is left over.

        `ids` are all that were accepted since Redis was empty; somebody else has taken `gone`
        from `done`.
        """
        assert ids, "nothing was accepted"
        self.await_end(ids, timeout_s)
        assert Counter(event["id"] for event in self.ended()) == Counter({*ids} - {*gone})
        assert self.statuses(ids)["completed"], "every request failed"
        closings = {request_id: self._closings(request_id) for request_id in ids}
        assert {i: n for i, n in closings.items() if n != 1} == {}, "not one closing each"
        with _telling(self.left_over):
            eventually(lambda: not self.left_over(), timeout_s, "nothing left over")

    def left_over(self) -> dict[str, object]:
        """Tell what is neither ended nor given back: entries, leases, tickets, waiting events."""
        left: dict[str, object] = {}
        for hop in (hop.name for hop in HOPS if hop.name != ROUTE):
            left[hop] = self._client.xlen(self._names.hop(hop))
        reads = [(f"requests:{lane}", ROUTE) for lane in LANES] + [("done", "callback")]
        reads += [(hop.name, hop.name) for hop in HOPS if hop.name != ROUTE]
        for stream, group in reads:
            key = self._names.hop(stream)
            if self._client.exists(key):
                groups = {row["name"]: row for row in self._client.xinfo_groups(key)}
                left[f"pending at {stream}"] = groups[group]["pending"]
                last = groups[group]["last-delivered-id"]
                left[f"unread at {stream}"] = len(entries(self._client, key, f"({last}"))
        left["parked"] = self._client.hlen(self._names.parked)
        left["rungs"] = self._client.zrange(self._names.rungs, 0, -1)
        for key in self._client.scan_iter(f"{self._names.prefix}:rung:*"):
            left[key] = self._client.xlen(key)
        left["limits"] = self._limits()
        left["tickets"] = self._client.hkeys(f"{self._names.limits}:tickets")
        return {what: much for what, much in left.items() if much}

    def _limits(self) -> list[str]:
        """Name the keys of the limits that say that somebody holds or waits for something."""
        skip = len(self._names.limits) + 1
        keys = [key[skip:] for key in self._client.scan_iter(f"{self._names.limits}:*")]
        held = [key for key in keys if key.partition(":")[0] in _OF_TICKETS]
        return held + [key for key in keys if key.startswith("use:") and self._is_used(key)]

    def _is_used(self, key: str) -> bool:
        # Read as text a packed state would be broken: this client is one of bytes.
        port = self._client.connection_pool.connection_kwargs["port"]
        with redis.Redis(port=port, protocol=2) as client:
            packed: bytes | None = client.get(f"{self._names.limits}:{key}")
        if packed is None:
            return False
        use = msgspec.msgpack.decode(packed)
        return any(use[number - 1] for number in _USED)

    def _closings(self, request_id: str) -> int:
        reply = entries(self._client, self._names.reply(request_id))
        closings = [int(entry.split("-")[0]) % TURN == CLOSING for entry, _ in reply]
        assert closings[-1:] == [True], f"the reply of {request_id} does not end with a closing"
        return sum(closings)


#: Keys of the limits that are there only while a ticket is, by their first part.
_OF_TICKETS: Final = frozenset({"tickets", "due", "rooms", "room", "queue", "line", "held"})
#: Numbers in `ground.lua` of what is used only while a ticket is: leases, held, reserved ones.
_USED: Final = (3, 23, 24, 25)


@contextmanager
def _telling(state: Callable[[], object]) -> Iterator[None]:
    """Add the state to the failure of a wait."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"it is: {state()}")
        raise


def more_than_one(calls: Counter[str], ids: Iterable[str]) -> set[str]:
    """Name the requests that were called upstream more than once; each was called."""
    ids = set(ids)
    assert not ids - calls.keys(), "some were never called"
    return {request_id for request_id in ids if calls[request_id] > 1}
