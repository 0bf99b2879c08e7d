"""A complete Dramatiq broker over Redis Streams.

Holds sending, declaring, joining and flushing; reading is in `queues/consumer`. A queue is one
stream with one consumer group. Delayed messages wait in Redis, so there are no delay queues, and
a retry takes its message's place in one step when that is acknowledged.
"""

import threading
from typing import Any, Final, TypedDict, Unpack, cast

import msgspec
import redis
from dramatiq.broker import Broker
from dramatiq.common import q_name
from dramatiq.errors import QueueJoinTimeout, QueueNotFound
from dramatiq.message import Message
from dramatiq.middleware import Middleware, SkipMessage

from pipeline import clock
from pipeline.streams.connection import sync_client
from pipeline.streams.queues.consumer import StreamConsumer
from pipeline.streams.queues.delivery import Delivery
from pipeline.streams.queues.keys import MESSAGE_FIELD, QueueKeys, liveness_prefix
from pipeline.streams.queues.scripts import (
    BrokerScripts,
    ScriptSettings,
    Successor,
    redis_errors_as_dramatiq,
)
from pipeline.streams.queues.session import Session, SessionSettings

DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"


class BrokerOptions(TypedDict, total=False):
    """What may be set beside url, namespace and middleware; see `BrokerSettings`."""

    dead_message_ttl: int
    liveness_s: float
    scan_s: float
    max_deliveries: int


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a broker."""

    #: Milliseconds for which dead letters are kept: seven days.
    dead_message_ttl: int = 7 * 86_400_000
    #: Seconds without a sign of life after which a worker process is dead.
    liveness_s: float = 12.0
    #: Seconds between two looks for what the dead left behind.
    scan_s: float = 3.0
    #: Deliveries after which a message that takes its workers down is a dead letter.
    max_deliveries: int = 5


class StreamBroker(Broker):
    """A Dramatiq broker whose queues are Redis Streams.

    A given `client` must have connections to spare (one per consumed queue is held) and must not
    decode replies; commands are repeated as it is told to, and a repeated send sends twice.
    """

    def __init__(
        self,
        *,
        url: str = DEFAULT_URL,
        namespace: str = "sluice",
        middleware: list[Middleware] | None = None,
        client: redis.Redis | None = None,
        **options: Unpack[BrokerOptions],
    ) -> None:
        super().__init__(middleware=middleware)
        self.queues: dict[str, QueueKeys] = {}
        self.namespace = namespace
        self.settings = BrokerSettings(**options)
        self.client = client or sync_client(url)
        if self.client.get_connection_kwargs().get("decode_responses"):
            raise ValueError("StreamBroker needs a client with decode_responses=False")
        self._owns_client = client is None
        self._scripts = BrokerScripts(
            self.client,
            ScriptSettings(
                liveness_prefix=liveness_prefix(namespace),
                dead_ttl_ms=self.settings.dead_message_ttl,
                max_deliveries=self.settings.max_deliveries,
                wake_within_ms=int(self.settings.scan_s * 1000),
            ),
        )
        self._session: Session | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Flush what is acknowledged and leave what is still held to others; may be used again."""
        with self._lock:
            session, self._session = self._session, None
        if session:
            session.close()
        if self._owns_client:
            self.client.close()

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue; a second time changes nothing. Raises ValueError for a colon in it."""
        if queue_name in self.queues:
            return
        if ":" in queue_name:
            raise ValueError(f"A queue's name must not hold a colon: {queue_name!r}")
        self.emit_before("declare_queue", queue_name)
        self.queues[queue_name] = QueueKeys(self.namespace, queue_name)
        self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> StreamConsumer:
        """Read a declared queue; `timeout` is in milliseconds.

        Raises QueueNotFound, and ConnectionClosed if Redis does not answer.
        """
        keys = self.queues.get(queue_name)
        if keys is None:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        with self._lock:
            session = self._session = self._session or self._new_session()
        return StreamConsumer(session, keys, prefetch=prefetch, timeout_ms=timeout)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Send a message, at once or after at least `delay` milliseconds by Redis's clock.

        Returns the message as sent. Raises ConnectionClosed if Redis does not answer: the message
        may have been accepted. A retry raises nothing: it goes with the acknowledgement.
        """
        eta = {} if delay is None else {"eta": int(clock.now() * 1000) + delay}
        sent = message.copy(queue_name=q_name(message.queue_name), options=eta)
        self.emit_before("enqueue", sent, delay)
        delivery = cast("object", message)
        if isinstance(delivery, Delivery) and delivery.is_being_retried:
            delivery.successor = Successor(payload=sent.encode(), delay_ms=int(delay or 0))
        else:
            self._send(sent, delay)
        self.emit_after("enqueue", sent, delay)
        return sent

    def queue_size(self, queue_name: str) -> int:
        """Count the messages of a queue that are ready, held by workers, or delayed."""
        keys = self._keys(queue_name)
        with redis_errors_as_dramatiq():
            return self._scripts.size(keys)

    def join(self, queue_name: str, *, interval: int = 100, timeout: int | None = None) -> None:
        """Wait until a queue has no message left: ready, held, delayed or to be retried.

        `interval` and `timeout` are in milliseconds. Raises QueueJoinTimeout.
        """
        deadline = None if timeout is None else clock.monotonic() + timeout / 1000
        while self.queue_size(queue_name):
            if deadline is not None and clock.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]
            clock.sleep(interval / 1000)

    def flush(self, queue_name: str) -> None:
        """Drop all messages of a queue; what is running goes on, and nothing follows from it."""
        keys = self._keys(queue_name)
        with redis_errors_as_dramatiq():
            # In this order nothing falls due in between.
            self.client.unlink(keys.delayed)
            # Trimmed, not deleted: the group and the readers that wait on it stay.
            self.client.xtrim(keys.stream, maxlen=0, approximate=False)

    def flush_all(self) -> None:
        """Drop all messages of all declared queues."""
        for queue_name in self.get_declared_queues():
            self.flush(queue_name)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Tell the middleware; a message that others claimed from us is skipped instead of run."""
        session = self._session
        delivery = args[0] if signal == "process_message" else None
        if session and isinstance(delivery, Delivery) and session.is_lost(delivery):
            raise SkipMessage("another worker has claimed the message")
        super().emit_before(signal, *args, **kwargs)

    def _send(self, message: Message[Any], delay: int | None) -> None:
        keys, payload = self._keys(message.queue_name), message.encode()
        eta = message.options.get("eta")
        with redis_errors_as_dramatiq():
            if delay is not None and delay > 0:
                self._scripts.delay(keys, payload, in_ms=int(delay))
            elif delay is None and isinstance(eta, int | float):
                self._scripts.delay_until(keys, payload, unix_ms=int(eta))
            else:
                self.client.xadd(keys.stream, {MESSAGE_FIELD: payload})

    def _keys(self, queue_name: str) -> QueueKeys:
        name = q_name(queue_name)
        return self.queues.get(name) or QueueKeys(self.namespace, name)

    def _new_session(self) -> Session:
        settings = SessionSettings(liveness_s=self.settings.liveness_s, scan_s=self.settings.scan_s)
        return Session(self.client, self._scripts, settings)
