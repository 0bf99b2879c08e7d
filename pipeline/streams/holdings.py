"""What one worker process holds: the entries it runs, and how many more it may take."""

import asyncio
from collections import Counter
from typing import Final

from pipeline import clock
from pipeline.event import Event
from pipeline.flow import BY_NAME, ROUTE
from pipeline.streams.carriage import Source

#: Entries of the deciding hops held at once; enough to fill batches, few enough to share.
QUICK_ENTRIES: Final = 512

_LONG: Final = frozenset(hop.name for hop in BY_NAME.values() if hop.long)


class Running:
    """An entry that this process holds."""

    __slots__ = ("event", "source", "start", "task")

    def __init__(self, source: Source, event: Event) -> None:
        self.source = source
        self.event = event
        self.start = clock.now()
        self.task: asyncio.Task[None] | None = None


class Holdings:
    """The entries held, by stream and entry id; `calls` is the number of provider calls allowed."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._running: dict[tuple[str, str], Running] = {}
        #: How many entries each group holds.
        self.held: Counter[str] = Counter()
        #: How many suspects may be claimed now: one, and one more for each that did no harm.
        self.trials = 1
        #: How many suspects run now.
        self.suspects = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._running)

    def hold(self, source: Source, event: Event) -> Running:
        """Note an entry as held."""
        run = Running(source, event)
        self._running[source.stream, source.entry] = run
        self.held[source.group] += 1
        if _is_suspect(run):
            self.trials -= 1
            self.suspects += 1
        return run

    def get(self, stream: str, entry: str) -> Running | None:
        """Give the entry if it is held."""
        return self._running.get((stream, entry))

    def of(self, stream: str) -> set[str]:
        """List the ids of the entries held of a stream."""
        return {entry for source, entry in self._running if source == stream}

    def running(self, group: str) -> list[Event]:
        """List the events of a group whose hop has not ended yet."""
        runs = [run for run in self._running.values() if run.source.group == group]
        return [run.event for run in runs if run.task]

    def tasks(self) -> list[asyncio.Task[None]]:
        """List the tasks under way."""
        return [run.task for run in self._running.values() if run.task]

    def release(self, run: Running) -> None:
        """Note that an entry is no longer held."""
        if self._running.pop((run.source.stream, run.source.entry), None):
            self.held[run.source.group] -= 1
            if _is_suspect(run):
                self.trials += 2
                self.suspects -= 1
        self._changed.set()

    async def change(self) -> None:
        """Wait until an entry is released."""
        self._changed.clear()
        await self._changed.wait()

    def room(self, group: str) -> int:
        """Tell how many entries of a group may be taken now."""
        long = sum(self.held[hop] for hop in _LONG)
        if group in _LONG:
            return max(0, self._calls - long)
        quick = self.held.total() - long
        if group == ROUTE:
            # A new request is taken only where a provider call will have a slot for it.
            return max(0, min(QUICK_ENTRIES // 2, self._calls - long) - quick)
        return max(0, QUICK_ENTRIES - quick)


def _is_suspect(run: Running) -> bool:
    """Tell whether it has been in the hands of two workers that died, as `claim.lua` counts."""
    return run.event.delivery > 2
