"""Which entries of a queue this process has read and not yet settled in Redis."""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

#: Entries whose end Redis has not yet confirmed; beyond it no more are read.
MAX_SETTLING: Final = 1024


class Holdings:
    """The entries of one queue in this process's hands, shared by all its threads.

    An entry is running from its reading until its consumer is told the end, then settling until
    Redis has heard it. Only running ones count against a consumer's prefetch.
    """

    def __init__(self) -> None:
        self._running: dict[bytes, int] = {}
        self._settling: set[bytes] = set()
        self._count: Counter[int] = Counter()
        self._changed = threading.Condition()

    def take(self, entry_id: bytes, owner: int) -> bool:
        """Note an entry read by the consumer `owner`; False if the process has it already."""
        with self._changed:
            if entry_id in self._running or entry_id in self._settling:
                return False
            self._running[entry_id] = owner
            self._count[owner] += 1
            return True

    def end(self, entry_id: bytes) -> bool:
        """Note that an entry is done here and on its way to Redis; False if that was known."""
        with self._changed:
            owner = self._running.pop(entry_id, None)
            if owner is None:
                return False
            self._count[owner] -= 1
            self._settling.add(entry_id)
            self._changed.notify_all()
            return True

    def settled(self, entry_ids: Iterable[bytes]) -> None:
        """Note that Redis has heard the end of entries."""
        with self._changed:
            self._settling.difference_update(entry_ids)
            self._changed.notify_all()

    def known(self) -> list[bytes]:
        """List every entry in this process's hands."""
        with self._changed:
            return [*self._running, *self._settling]

    def room(self, owner: int, prefetch: int) -> int:
        """Tell how many entries the consumer `owner` may read."""
        with self._changed:
            return self._room(owner, prefetch)

    def wait_for_room(self, owner: int, prefetch: int, timeout_s: float) -> None:
        """Wait until the consumer `owner` may read, at most `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._room(owner, prefetch) > 0, timeout_s)

    def _room(self, owner: int, prefetch: int) -> int:
        if len(self._settling) >= MAX_SETTLING:
            return 0
        return max(0, prefetch - self._count[owner])
