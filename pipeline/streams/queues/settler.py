"""Tells Redis the ends of entries from one thread, in batches, so that no actor's thread waits.

A busy queue batches by itself: what comes while a call is under way goes with the next. While
Redis is away the settlements are kept and tried again; there are never more of them than entries
that were read. A repeated settlement finds the entry gone and changes nothing. A process that is
killed within the millisecond between an actor's end and its settling runs that message again.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

import redis

from pipeline.about import noted, said
from pipeline.streams.queues.keys import QueueKeys
from pipeline.streams.queues.scripts import BrokerScripts, Settlement

logger = logging.getLogger(__name__)

#: Entries settled by one call of the script.
BATCH: Final = 256

#: Pauses while Redis does not answer, in seconds; the last one is repeated.
PAUSES_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)


class Settler:
    """The queue and the thread between the consumers and Redis."""

    def __init__(
        self,
        scripts: BrokerScripts,
        consumer: str,
        on_settled: Callable[[QueueKeys, list[bytes]], None],
    ) -> None:
        self._scripts = scripts
        self._consumer = consumer
        self._on_settled = on_settled
        self._waiting: deque[Settlement] = deque()
        #: How many settlements ever came, and how many of them Redis has heard.
        self._submitted = 0
        self._heard = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="broker-settler", daemon=True)
        self._thread.start()

    def submit(self, settlement: Settlement) -> None:
        """Have an entry settled soon."""
        with self._changed:
            self._waiting.append(settlement)
            self._submitted += 1
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until Redis has heard everything submitted so far; False if time ran out."""
        with self._changed:
            so_far = self._submitted
            return self._changed.wait_for(lambda: self._heard >= so_far, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Flush and end the thread; False if something is left, which will be delivered again."""
        flushed = self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return flushed

    def _run(self) -> None:
        failures = 0
        while batch := self._next_batch():
            try:
                refused = self._scripts.settle(batch[0].keys, self._consumer, batch)
            except redis.RedisError as error:
                told = noted(entries=len(batch), reason=said(error))
                logger.warning("Settling was postponed", extra=told)
                self._pause(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
                failures += 1
                continue
            if refused and not failures:
                told = noted(queue=batch[0].keys.queue, entries=len(refused))
                logger.warning("Settling was refused", extra=told)
            failures = 0
            self._done(batch)

    def _next_batch(self) -> list[Settlement]:
        """Wait for settlements; returns the first ones, all of one queue, or none to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._closing:
                return []
            keys = self._waiting[0].keys
            first = islice(self._waiting, BATCH)
            batch: list[Settlement] = []
            for settlement in first:
                if settlement.keys is not keys:
                    break
                batch.append(settlement)
            return batch

    def _done(self, batch: list[Settlement]) -> None:
        self._on_settled(batch[0].keys, [settlement.entry_id for settlement in batch])
        with self._changed:
            for _ in batch:
                self._waiting.popleft()
            self._heard += len(batch)
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)
