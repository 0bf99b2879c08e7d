"""The broker's consumer: reads one queue, and looks after it while it waits.

The look (every `scan_s`, and when a delayed message falls due) promotes due messages and claims
what dead consumers left, whether or not there is traffic. Nothing is read or claimed beyond the
prefetch, and a read is never under way while something is claimed.
"""

import logging
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import BrokerConnectionError, ConnectionClosed, DecodeError

from pipeline import clock
from pipeline.about import noted, said
from pipeline.streams.queues.delivery import Delivery, decode, order_of
from pipeline.streams.queues.keys import WAKE_FIELD, QueueKeys
from pipeline.streams.queues.reader import BlockingRead
from pipeline.streams.queues.scripts import Entry, Sweep, redis_errors_as_dramatiq
from pipeline.streams.queues.session import Session

logger = logging.getLogger(__name__)

#: Expired dead letters are looked for once in so many looks.
TRIM_EVERY: Final = 20

#: How long a consumer that closes waits for its read to end.
CANCEL_TIMEOUT_S: Final = 1.0


class StreamConsumer(Consumer):
    """Iterates over the messages of one queue; gives None when there is none for `timeout_ms`."""

    def __init__(
        self, session: Session, keys: QueueKeys, *, prefetch: int, timeout_ms: int
    ) -> None:
        self.queue_name = keys.queue
        self._session = session
        self._keys = keys
        self._prefetch = prefetch
        self._timeout_s = max(timeout_ms / 1000, 0.001)
        self._name = session.liveness.name
        self._owner = next(session.owners)
        self._holdings = session.holdings(keys.queue)
        self._buffer: deque[Entry] = deque()
        self._looks = 0
        self._is_closed = False
        #: Whether more is left to be claimed than there was room for.
        self._more = False
        #: What was read under our name by a reply that never came is pending, and unknown here.
        self._recovers_own = True
        self._reader = BlockingRead(session.client, keys, self._name)
        with ExitStack() as undo, redis_errors_as_dramatiq():
            undo.callback(self._reader.close)
            self._reader.open()
            self._reader.ensure_group()
            self._claims_at = clock.monotonic() + self._grace_s()
            self._sweep()
            undo.pop_all()

    def __next__(self) -> Delivery | None:
        """Give the next message, or None after the timeout; raises ConnectionClosed."""
        deadline = clock.monotonic() + self._timeout_s
        with redis_errors_as_dramatiq():
            while not (delivery := self._from_buffer()):
                remaining_s = deadline - clock.monotonic()
                if remaining_s <= 0:
                    return None
                self._advance(remaining_s)
        return delivery

    def ack(self, message: MessageProxy) -> None:
        """Have the message's entry acknowledged and deleted soon; never blocks or fails."""
        if isinstance(message, Delivery):
            self._session.settle(message, "ack")

    def nack(self, message: MessageProxy) -> None:
        """Have the message moved to the dead letters soon; never blocks or fails."""
        if isinstance(message, Delivery):
            self._session.settle(message, "dead")

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put messages back for others now, in the order in which they were read.

        Raises ConnectionClosed if Redis does not answer: then they are claimed later.
        """
        deliveries = [message for message in messages if isinstance(message, Delivery)]
        for delivery in sorted(deliveries, key=lambda delivery: order_of(delivery.entry_id)):
            self._session.settle(delivery, "requeue")
        if not self._session.flush():
            raise ConnectionClosed("Redis did not answer in time")  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """End the read, and put back now what was read and not handed out."""
        if self._is_closed:
            return
        self._is_closed = True
        connected = self._end_read()
        while self._buffer:
            self._session.settle_entry(self._keys, self._buffer.popleft()[0], "requeue")
        # Without a connection the settler goes on trying, and nobody need wait for it here.
        if connected:
            self._session.flush()

    def _end_read(self) -> bool:
        try:
            with redis_errors_as_dramatiq():
                self._keep(self._reader.cancel(CANCEL_TIMEOUT_S))
        except BrokerConnectionError as error:
            told = noted(queue=self.queue_name, reason=said(error))
            logger.warning("Consumer was cut off", extra=told)
            return False
        finally:
            self._reader.close()
        return True

    def _grace_s(self) -> float:
        """Tell how long a freshly started Redis leaves workers to show that they live."""
        uptime_s = float(self._session.client.info("server")["uptime_in_seconds"])
        return max(0.0, self._session.settings.liveness_s - uptime_s)

    def _advance(self, timeout_s: float) -> None:
        """Take one step: receive, look after the queue, wait for room, or ask for entries."""
        if self._reader.is_waiting:
            if self._reader.is_ready(timeout_s):
                self._keep(self._reader.receive())
            return
        room = self._holdings.room(self._owner, self._prefetch)
        until_look_s = self._look_at - clock.monotonic()
        if until_look_s <= 0 or (self._more and room):
            self._sweep()
            return
        if room == 0:
            wait_s = min(timeout_s, until_look_s)
            self._holdings.wait_for_room(self._owner, self._prefetch, wait_s)
            return
        self._reader.start(room, max(1, int(until_look_s * 1000)))

    def _sweep(self) -> None:
        self._looks += 1
        now = clock.monotonic()
        sweep = Sweep(
            room=self._holdings.room(self._owner, self._prefetch),
            from_dead=now >= self._claims_at,
            own_but=self._holdings.known() if self._recovers_own else None,
            trim_dead=self._looks % TRIM_EVERY == 1,
        )
        findings = self._session.scripts.sweep(self._keys, self._name, sweep)
        self._keep(findings.entries)
        wait_s = self._session.settings.scan_s
        if findings.due_in_ms >= 0:
            wait_s = min(wait_s, findings.due_in_ms / 1000)
        self._look_at = now + wait_s
        self._more = findings.more
        self._recovers_own = self._recovers_own and findings.more

    def _keep(self, entries: list[Entry]) -> None:
        # An entry that this process holds already was claimed by another while we seemed dead,
        # and back from it: the first run settles it.
        self._buffer.extend(
            entry for entry in entries if self._holdings.take(entry[0], self._owner)
        )

    def _from_buffer(self) -> Delivery | None:
        while self._buffer:
            entry_id, fields = self._buffer.popleft()
            if WAKE_FIELD in fields[::2]:
                self._session.settle_entry(self._keys, entry_id, "ack")
                self._look_at = clock.monotonic()
                continue
            try:
                message = decode(fields, self.queue_name)
            except DecodeError as error:
                told = noted(queue=self.queue_name, entry=entry_id.decode())
                logger.warning("Entry was no message", extra=told)
                self._session.settle_entry(self._keys, entry_id, "dead", f"malformed: {error}")
                continue
            return Delivery(message, keys=self._keys, entry_id=entry_id)
        return None
