"""A blocking read of one queue that its thread can leave and come back to.

The read stays open in Redis for seconds, so that an idle queue costs next to nothing, while the
thread looks at the socket in short slices and can stop promptly.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import redis
from redis.connection import Connection

from pipeline import clock
from pipeline.streams.queues.keys import GROUP, QueueKeys
from pipeline.streams.queues.scripts import Entry

#: A reply that is later than its BLOCK time by this much will not come any more.
OVERDUE_S: Final = 5.0

#: Errors by which Redis says that the group or the stream went away under a reader.
LOST_GROUP: Final = ("NOGROUP", "UNBLOCKED")


class BlockingRead:
    """At most one XREADGROUP under way on a connection of its own."""

    def __init__(self, client: redis.Redis, keys: QueueKeys, consumer: str) -> None:
        self._client = client
        self._keys = keys
        self._consumer = consumer
        self._overdue_at = 0.0
        self._client_id = 0
        self._opened: Connection | None = None
        self.is_waiting = False

    def open(self) -> None:
        """Take a connection."""
        self._opened = self._client.connection_pool.get_connection()
        self._connection.send_command("CLIENT", "ID")  # type: ignore[no-untyped-call]
        self._client_id = cast("int", self._connection.read_response())

    def ensure_group(self) -> None:
        """Create the group, from the first entry on, if it is not there."""
        try:
            self._client.xgroup_create(self._keys.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def start(self, count: int, block_ms: int) -> None:
        """Ask for up to `count` new entries; Redis holds the question for up to `block_ms`."""
        self._overdue_at = clock.monotonic() + block_ms / 1000 + OVERDUE_S
        self.is_waiting = True
        how = ("GROUP", GROUP, self._consumer, "COUNT", count, "BLOCK", block_ms)
        self._connection.send_command("XREADGROUP", *how, "STREAMS", self._keys.stream, ">")  # type: ignore[no-untyped-call]

    def is_ready(self, timeout_s: float) -> bool:
        """Wait for the reply, at most `timeout_s`."""
        if self._connection.can_read(timeout_s):
            return True
        if clock.monotonic() > self._overdue_at:
            raise redis.ConnectionError("Redis keeps the connection and does not answer")
        return False

    def receive(self) -> list[Entry]:
        """Take the reply; a lost group is created anew and reads as nothing."""
        try:
            reply = self._connection.read_response(disable_decoding=True)
        except redis.ResponseError as error:
            self.is_waiting = False
            if not str(error).startswith(LOST_GROUP):
                raise
            self.ensure_group()
            return []
        self.is_waiting = False
        return _entries(cast("Reply | None", reply))

    def cancel(self, timeout_s: float) -> list[Entry]:
        """End the read; returns the entries that had come by then."""
        if not self.is_waiting:
            return []
        self._client.client_unblock(self._client_id)
        return self.receive() if self.is_ready(timeout_s) else []

    def close(self) -> None:
        """Give up the connection."""
        if self._opened:
            self._opened.disconnect()  # type: ignore[no-untyped-call]
            self._client.connection_pool.release(self._opened)
        self._opened = None

    @property
    def _connection(self) -> Connection:
        if self._opened is None:
            raise redis.ConnectionError("the reader is closed")
        return self._opened


#: One stream with its entries: a list in RESP2, a map in RESP3.
Reply = Sequence[tuple[bytes, list[Entry]]] | Mapping[bytes, list[Entry]]


def _entries(reply: Reply | None) -> list[Entry]:
    if reply is None:
        return []
    streams = reply.values() if isinstance(reply, Mapping) else [pair[1] for pair in reply]
    return [entry for entries in streams for entry in entries]
