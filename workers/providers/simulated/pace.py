"""When each token of a simulated answer is due, and how to sleep until a client goes away.

Times are absolute on the event loop's clock, so that no delay of one token moves the next.
"""

import asyncio
import math
from collections.abc import Callable

from starlette.types import Receive

from workers.providers.simulated.faults import Behaviour

#: Sleepers are woken together by the millisecond, the event loop's own resolution. With 5,000
#: streams one timer for each of them cost a quarter more CPU per delta (39 µs against 31).
SLOTS_PER_S = 1000


class Pace:
    """When each token is due, in seconds after the call came in."""

    __slots__ = ("_behaviour", "_chance", "_stall_at", "_stall_s", "_ttft_s")

    def __init__(self, behaviour: Behaviour, tokens: int, chance: Callable[[], float]) -> None:
        self._behaviour = behaviour
        self._chance = chance
        self._stall_s = behaviour.stall_ms / 1000
        self._stall_at = min(behaviour.stall_at, max(0, tokens - 1)) if self._stall_s else 0
        self._ttft_s = behaviour.ttft_ms / 1000 * (1 + self._stray())

    def _stray(self) -> float:
        """Return a number within half the jitter of 0, so that tokens stay in order."""
        jitter = self._behaviour.jitter
        return jitter * (self._chance() - 0.5) if jitter else 0.0

    def due(self, token: int) -> float:
        """Tell when a token is due; the end of an answer is due with its last token."""
        due_s = self._ttft_s
        if self._behaviour.tps and token:
            due_s += (token + self._stray()) / self._behaviour.tps
        return due_s + self._stall_s if token >= self._stall_at else due_s

    def reach(self, token: int, end: int, elapsed_s: float) -> tuple[int, float]:
        """Return the first token after `token` that is not due yet, or `end`, and when it is.

        A draw of jitter belongs to one token, so the time returned must be kept.
        """
        if not self._behaviour.tps:
            stop = self._stall_at if token < self._stall_at < end else end
            return stop, self.due(stop)
        following = token + 1
        due_s = self.due(following)
        while following < end and due_s <= elapsed_s:
            following += 1
            due_s = self.due(following)
        return min(following, end), due_s


class Alarms:
    """Wakes all sleepers of a time slot by one timer of the event loop."""

    def __init__(self) -> None:
        self._slots: dict[int, list[asyncio.Future[bool]]] = {}

    def at(self, when: float) -> asyncio.Future[bool]:
        """Return a future that becomes true at a time of the loop's clock, never before it."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        slot = math.ceil(when * SLOTS_PER_S)
        sleepers = self._slots.get(slot)
        if sleepers is None:
            self._slots[slot] = [waiter]
            loop.call_at(slot / SLOTS_PER_S, self._ring, slot)
        else:
            sleepers.append(waiter)
        return waiter

    def _ring(self, slot: int) -> None:
        for waiter in self._slots.pop(slot):
            _wake(waiter, True)


class Presence:
    """Sleeps for one call, and wakes early when its client has gone."""

    __slots__ = ("_alarms", "_loop", "_receive", "_waiter", "_watcher")

    def __init__(self, receive: Receive, alarms: Alarms) -> None:
        self._alarms = alarms
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._waiter: asyncio.Future[bool] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def until(self, when: float) -> bool:
        """Sleep until a time of the loop's clock; False at once when the client has gone."""
        if when <= self._loop.time():
            return True
        if self._watcher is None:
            self._watcher = self._loop.create_task(self._watch())
        if self._watcher.done():
            return False
        self._waiter = self._alarms.at(when)
        return await self._waiter

    async def gone(self) -> None:
        """Sleep until the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _watch(self) -> None:
        await self.gone()
        if self._waiter is not None:
            _wake(self._waiter, False)

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()


def _wake(waiter: asyncio.Future[bool], present: bool) -> None:
    if not waiter.done():
        waiter.set_result(present)
