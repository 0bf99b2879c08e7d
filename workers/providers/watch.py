"""The timeouts of one provider call, on one timer that moves lazily.

A delta costs one subtraction here, not a timer set and cancelled: the timer wakes at the due
time it was set for, sees that the due time has moved on, and sleeps again. 5,000 idle streams
wake some 80 times a second between them.
"""

import asyncio
from types import TracebackType
from typing import Final, Literal, Self

from workers.providers.base import Timeouts

Phase = Literal["connect", "first_byte", "idle", "total"]

#: The loop's timers may ring this much early (uvloop counts in whole milliseconds).
_EARLY_S: Final = 0.002


class Expired(Exception):
    """A timeout has passed; `phase` says which."""

    def __init__(self, phase: Phase, seconds: float) -> None:
        super().__init__(f"{phase} timeout of {seconds:g} s")
        self.phase = phase
        self.seconds = seconds


class Watch:
    """Guards each wait of a call: `with watch:` around every await on the upstream.

    Time spent outside the block (a slow consumer) counts towards the total, never as idle.
    """

    __slots__ = (
        "_armed", "_cancelling", "_due", "_end", "_loop", "_rang", "_task", "_timeouts", "_timer",
        "phase",
    )  # fmt: skip

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._end = now + timeouts.total_s
        self._due = self._end
        self._timer: asyncio.TimerHandle | None = None
        # Set early enough for any wait, so that most calls set one timer and no more.
        self._arm(min(now + timeouts.first_byte_s, now + timeouts.idle_s, self._end))
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._rang = False
        #: Which limit holds for the next wait.
        self.phase: Phase = "first_byte"

    def __enter__(self) -> Self:
        now = self._loop.time()
        if now >= self._end:
            raise Expired("total", self._timeouts.total_s)
        limit = self._timeouts.idle_s if self.phase == "idle" else self._timeouts.first_byte_s
        self._due = min(now + limit, self._end)
        if self._timer is None or self._armed > self._due:
            self._arm(self._due)
        self._task = asyncio.current_task(self._loop)
        self._cancelling = self._task.cancelling() if self._task else 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if not self._rang or task is None:
            return
        self._rang = False
        # Whoever else has cancelled the task wants it cancelled, not timed out.
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._expired() from raised

    def close(self) -> None:
        """Stop the timer; the call is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() + _EARLY_S < self._due:
            self._arm(self._due)
            return
        self._rang = True
        self._task.cancel()

    def _expired(self) -> Expired:
        if self._due == self._end:
            return Expired("total", self._timeouts.total_s)
        if self.phase == "idle":
            return Expired("idle", self._timeouts.idle_s)
        return Expired("first_byte", self._timeouts.first_byte_s)
