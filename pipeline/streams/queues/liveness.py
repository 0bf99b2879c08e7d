"""A worker process's sign of life: a key in Redis that a thread keeps fresh.

Only what belongs to a consumer without its key is claimed. A process that was paused beyond it
keeps its name: each settlement is checked entry by entry, and an entry that nobody claimed
meanwhile is still ours.
"""

import logging
import threading
from typing import Final

import redis

from pipeline import clock
from pipeline.about import noted, said
from pipeline.streams.liveness import consumer_name
from pipeline.streams.queues.scripts import BrokerScripts, redis_errors_as_dramatiq

logger = logging.getLogger(__name__)

#: The key is refreshed this many times within its life.
BEATS: Final = 4


class Liveness:
    """The sign of life of one consumer."""

    def __init__(self, scripts: BrokerScripts, liveness_s: float) -> None:
        self.name = consumer_name()
        self.liveness_s = liveness_s
        self._scripts = scripts
        self._beat_at = float("-inf")
        self._lapsed_at = float("-inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker-liveness", daemon=True)

    def start(self) -> None:
        """Show the first sign; raises ConnectionClosed if Redis is not there."""
        with redis_errors_as_dramatiq():
            self._beat()
        self._lapsed_at = float("-inf")
        self._thread.start()

    def may_have_lapsed_since(self, moment: float) -> bool:
        """Tell whether others may have claimed what was read at this monotonic time."""
        return self._lapsed_at >= moment or clock.monotonic() - self._beat_at > self.liveness_s

    def close(self) -> None:
        """Stop, and let others claim at once what is left."""
        self._closing.set()
        self._thread.join(self.liveness_s)
        try:
            self._scripts.forget(self.name)
        except redis.RedisError as error:
            told = noted(worker=self.name, reason=said(error))
            logger.warning("The sign of life was left to expire", extra=told)

    def _run(self) -> None:
        while not self._closing.wait(self.liveness_s / BEATS):
            try:
                self._beat()
            except redis.RedisError as error:
                told = noted(worker=self.name, reason=said(error))
                logger.warning("No sign of life was given", extra=told)

    def _beat(self) -> None:
        began = clock.monotonic()
        was_there = self._scripts.beat(self.name, int(self.liveness_s * 1000))
        if not was_there or began - self._beat_at > self.liveness_s:
            self._lapsed_at = clock.monotonic()
        self._beat_at = began
