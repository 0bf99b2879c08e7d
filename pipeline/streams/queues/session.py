"""What a process needs once it consumes: a name and sign of life, a settler, the holdings."""

import itertools
import logging
import threading
from typing import Final

import msgspec
import redis

from pipeline.streams.queues.delivery import Delivery
from pipeline.streams.queues.holdings import Holdings
from pipeline.streams.queues.keys import GROUP, QueueKeys
from pipeline.streams.queues.liveness import Liveness
from pipeline.streams.queues.scripts import BrokerScripts, Settlement, Verb
from pipeline.streams.queues.settler import Settler

logger = logging.getLogger(__name__)

#: How long a process that ends waits for Redis to hear its last settlements.
FLUSH_TIMEOUT_S: Final = 5.0


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a process consumes."""

    liveness_s: float
    #: Seconds between two looks for what the dead left behind.
    scan_s: float


class Session:
    """One process's share in consuming, for all its queues and threads."""

    def __init__(
        self, client: redis.Redis, scripts: BrokerScripts, settings: SessionSettings
    ) -> None:
        self.client = client
        self.scripts = scripts
        self.settings = settings
        self.liveness = Liveness(scripts, settings.liveness_s)
        self.liveness.start()
        self.owners = itertools.count()
        self._holdings: dict[str, Holdings] = {}
        self._lock = threading.Lock()
        self._settler = Settler(scripts, self.liveness.name, self._settled)

    def holdings(self, queue: str) -> Holdings:
        """Give the holdings of a queue."""
        with self._lock:
            return self._holdings.setdefault(queue, Holdings())

    def settle(self, delivery: Delivery, verb: Verb) -> None:
        """Have a delivery's entry settled soon; a second time is ignored."""
        reason = delivery.failure if verb == "dead" else ""
        self._settle(
            Settlement(
                keys=delivery.keys,
                entry_id=delivery.entry_id,
                verb=verb,
                reason=reason,
                successor=delivery.successor,
            )
        )

    def settle_entry(self, keys: QueueKeys, entry_id: bytes, verb: Verb, reason: str = "") -> None:
        """Have an entry settled that never became a delivery."""
        self._settle(Settlement(keys=keys, entry_id=entry_id, verb=verb, reason=reason))

    def _settle(self, settlement: Settlement) -> None:
        if self.holdings(settlement.keys.queue).end(settlement.entry_id):
            self._settler.submit(settlement)

    def flush(self) -> bool:
        """Wait until Redis has heard all settlements; False if it did not answer in time."""
        return self._settler.flush(FLUSH_TIMEOUT_S)

    def is_lost(self, delivery: Delivery) -> bool:
        """Tell whether others have claimed a delivery while this process seemed dead."""
        if not self.liveness.may_have_lapsed_since(delivery.read_at):
            return False
        entry_id = delivery.entry_id
        try:
            return not self.client.xpending_range(
                delivery.keys.stream, GROUP, entry_id, entry_id, 1, self.liveness.name
            )
        except redis.RedisError:
            # Whoever cannot ask runs it: twice is allowed, never is not.
            return False

    def close(self) -> None:
        """Flush, and leave what is still held to others."""
        if not self._settler.close(FLUSH_TIMEOUT_S):
            logger.warning("Settlements were lost; their messages will be delivered again")
        self.liveness.close()

    def _settled(self, keys: QueueKeys, entry_ids: list[bytes]) -> None:
        self.holdings(keys.queue).settled(entry_ids)
