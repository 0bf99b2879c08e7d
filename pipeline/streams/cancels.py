"""Cancelled calls: found among those under way, with no question asked while nobody cancels.

What waits, climbs or travels ends by the scripts (`cancel.lua`, `transition.lua`). A call under
way ends with the next scan after the counter of cancelled requests has moved, or when it writes
its next delta, whichever is first.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from pipeline import clock
from pipeline.errors import Cancelled
from pipeline.event import Event
from pipeline.names import Names
from pipeline.streams.link import Link, LinkError


class Cancels:
    """The calls of one process that may be cancelled."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._calls: dict[str, asyncio.Task[object]] = {}
        self._hit: set[str] = set()
        self._counter: bytes | None = None
        #: What was forwarded before this may have been cancelled on its way, in Unix seconds.
        self._seen = clock.now()

    @contextlib.contextmanager
    def guard(self, event: Event) -> Iterator[None]:
        """Let a call be cancelled while it is in here. Raises `Cancelled`."""
        task = asyncio.current_task()
        assert task is not None
        self._calls[event.id] = task
        try:
            yield
        except asyncio.CancelledError:
            if event.id not in self._hit:
                raise
            task.uncancel()
            raise Cancelled("The request was cancelled during its call.", sent=True) from None
        finally:
            self._calls.pop(event.id, None)
            self._hit.discard(event.id)

    async def check(self, event: Event) -> None:
        """Refuse to begin a call that was cancelled on its way to it. Raises `Cancelled`."""
        if event.delivery == 1 and event.journal and event.journal[-1].end > self._seen:
            return
        with contextlib.suppress(LinkError):
            if await self._link.call("HEXISTS", self._names.record(event.id), "cancel"):
                raise Cancelled("The request was cancelled before its call.")

    async def notice(self, counter: bytes | None) -> None:
        """Hear how many requests have been cancelled; look for ours if that has changed.

        Raises `LinkError`; then the next notice looks again.
        """
        if counter == self._counter:
            return
        self._seen = clock.now()
        ids = list(self._calls)
        marks = [self._link.call("HEXISTS", self._names.record(one), "cancel") for one in ids]
        for request_id, is_marked in zip(ids, await asyncio.gather(*marks), strict=True):
            task = self._calls.get(request_id)
            if is_marked and task and request_id not in self._hit:
                self._hit.add(request_id)
                task.cancel()
        self._counter = counter
