"""The broker's Lua scripts as typed calls, and how Redis's errors become Dramatiq's.

Each call is atomic. A lost connection leaves open whether the script ran: `settle` and `sweep`
may be repeated, `delay` may not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
import redis
from dramatiq.errors import ConnectionClosed

from pipeline.streams.queues.keys import GROUP, QueueKeys

Verb = Literal["ack", "dead", "requeue"]

#: A stream entry: its id, and its fields and values in turn.
Entry = tuple[bytes, list[bytes]]


@contextmanager
def redis_errors_as_dramatiq() -> Iterator[None]:
    """Raise a lost or silent connection as Dramatiq's `ConnectionClosed`."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise ConnectionClosed(error) from error  # type: ignore[no-untyped-call]


class Successor(msgspec.Struct, frozen=True, kw_only=True):
    """The encoded message that takes a settled entry's place: a retry."""

    payload: bytes
    delay_ms: int


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How one entry ends: acknowledged, among the dead letters, or back in its queue."""

    keys: QueueKeys
    entry_id: bytes
    verb: Verb
    reason: str = ""
    successor: Successor | None = None

    def arguments(self) -> tuple[bytes | str | int, ...]:
        """Write this settlement as the script takes it."""
        if self.successor is None:
            return (self.entry_id, self.verb, self.reason, b"", 0)
        successor = self.successor
        return (self.entry_id, self.verb, self.reason, successor.payload, successor.delay_ms)


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What a look after a queue is asked to do."""

    room: int
    from_dead: bool
    #: Claim our own pending entries except these, or None: leave them alone.
    own_but: Sequence[bytes] | None = None
    trim_dead: bool = False


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a look after a queue brought."""

    #: Milliseconds until the next delayed message is due; -1: there is none.
    due_in_ms: int
    more: bool
    entries: list[Entry]


class ScriptSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that the scripts work with."""

    liveness_prefix: str
    dead_ttl_ms: int
    max_deliveries: int
    #: A delayed message due sooner than this wakes a reader: none may look before.
    wake_within_ms: int


class BrokerScripts:
    """The scripts on one client, with the settings that every call shares."""

    def __init__(self, client: redis.Redis, settings: ScriptSettings) -> None:
        self._client = client
        self._settings = settings
        folder = Path(__file__).parent
        prelude: Final = (folder / "prelude.lua").read_text()
        self._delay, self._settle, self._sweep, self._size = (
            client.register_script(prelude + (folder / f"{name}.lua").read_text())
            for name in ("delay", "settle", "sweep", "size")
        )
        self._beat = client.register_script((folder / "beat.lua").read_text())

    def beat(self, consumer: str, life_ms: int) -> bool:
        """Refresh a consumer's liveness key; False if it had gone."""
        key = self._settings.liveness_prefix + consumer
        return bool(self._beat((key, f"{key}:absent"), (life_ms,)))

    def forget(self, consumer: str) -> None:
        """Delete a consumer's liveness key: what it holds may be claimed."""
        self._client.delete(self._settings.liveness_prefix + consumer)

    def size(self, keys: QueueKeys) -> int:
        """Count a queue's messages: ready, held and delayed."""
        return cast("int", self._size(keys.for_script()))

    def delay(self, keys: QueueKeys, payload: bytes, *, in_ms: int) -> None:
        """Accept a message that is due in so many milliseconds by Redis's clock."""
        self._push(keys, payload, "in", in_ms)

    def delay_until(self, keys: QueueKeys, payload: bytes, *, unix_ms: int) -> None:
        """Accept a message that is due at a point in time."""
        self._push(keys, payload, "at", unix_ms)

    def _push(self, keys: QueueKeys, payload: bytes, way: str, milliseconds: int) -> None:
        wake_within_ms = self._settings.wake_within_ms
        self._delay(keys.for_script(), (way, milliseconds, payload, wake_within_ms))

    def settle(
        self, keys: QueueKeys, consumer: str, settlements: Sequence[Settlement]
    ) -> list[bytes]:
        """End entries of one queue; returns the ids that were no longer this consumer's."""
        settings = self._settings
        args: list[bytes | str | int] = [GROUP, consumer]
        args += [settings.dead_ttl_ms, settings.wake_within_ms]
        for settlement in settlements:
            args.extend(settlement.arguments())
        return cast("list[bytes]", self._settle(keys.for_script(), args))

    def sweep(self, keys: QueueKeys, consumer: str, sweep: Sweep) -> Findings:
        """Promote what is due and claim what is left behind."""
        settings = self._settings
        args: list[bytes | str | int] = [GROUP, consumer, settings.liveness_prefix, sweep.room]
        args += [settings.max_deliveries, settings.dead_ttl_ms if sweep.trim_dead else 0]
        args += [int(sweep.from_dead), int(sweep.own_but is not None), *(sweep.own_but or ())]
        due_in_ms, more, entries = cast(
            "tuple[int, int, list[Entry]]", self._sweep(keys.for_script(), args)
        )
        return Findings(due_in_ms=due_in_ms, more=bool(more), entries=entries)
