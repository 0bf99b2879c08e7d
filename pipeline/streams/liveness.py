"""Signs of life of a worker process, given from a thread that its event loop cannot starve.

Only what a worker without a sign of life holds is ever claimed. A loop that has not turned for
`stuck_s` is as good as dead, and the signs stop.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable

import msgspec
import redis

from pipeline import clock
from pipeline.about import noted, said
from pipeline.names import Names
from pipeline.streams.connection import sync_client
from pipeline.streams.scripts import BEAT

log = logging.getLogger(__name__)


def consumer_name() -> str:
    """Make a consumer's name; new at each start, as a container keeps its host and pid."""
    return f"{socket.gethostname()}-{os.getpid()}-{clock.chance.getrandbits(32):08x}"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells of itself; `status` shows it."""

    pid: int
    host: str
    started: float
    running: dict[str, int]
    version: str = ""


class Liveness:
    """The thread that keeps one worker's key alive; `on_gap` is told when it had lapsed."""

    #: A loop that has not turned for so long counts as dead, in seconds.
    stuck_s = 60.0

    def __init__(
        self,
        url: str,
        names: Names,
        consumer: str,
        liveness_s: float,
        facts: Callable[[], Facts],
        on_gap: Callable[[], None],
    ) -> None:
        self._client = sync_client(url, name=f"sluice-alive-{consumer}")
        self._script = self._client.register_script(BEAT.text)
        self._names = names
        self._consumer = consumer
        self._ttl_ms = int(liveness_s * 1000)
        self._beat_s = liveness_s / 3
        self._facts = facts
        self._on_gap = on_gap
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._turned = clock.monotonic()
        self._parent = os.getppid()
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)

    def start(self) -> None:
        """Give the first sign and start the thread. Raises `redis.RedisError`."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Give no more signs and withdraw the last, so that others may claim at once."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._beat_s + 10)
        try:
            self._client.delete(self._names.worker(self._consumer))
        except redis.RedisError as error:
            told = noted(worker=self._consumer, reason=said(error))
            log.info("The sign of life was left to expire", extra=told)
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(self._beat_s):
            self._loop.call_soon_threadsafe(self._turn)
            if os.getppid() != self._parent:
                log.warning("The parent process was lost; stopping")
                os.kill(os.getpid(), signal.SIGTERM)
                self._parent = os.getppid()
            if clock.monotonic() - self._turned > self.stuck_s:
                log.error("The event loop got stuck", extra=noted(for_s=self.stuck_s))
                continue
            try:
                if not self._beat():
                    self._loop.call_soon_threadsafe(self._on_gap)
            except redis.RedisError as error:
                told = noted(worker=self._consumer, reason=said(error))
                log.warning("No sign of life was given", extra=told)

    def _turn(self) -> None:
        self._turned = clock.monotonic()

    def _beat(self) -> bool:
        """Set the key and follow Redis's clock; tells whether the key had still been there."""
        facts = msgspec.json.encode(self._facts())
        names = self._names
        asked_s = clock.asking()
        there, seconds, micros, offset = self._script(
            keys=[names.worker(self._consumer), names.workers, names.clock],
            args=[names.prefix, self._consumer, facts, self._ttl_ms],
        )
        clock.follow(int(seconds) + int(micros) / 1e6 + float(offset or 0), asked_s)
        return bool(there)
