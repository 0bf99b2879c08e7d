"""What processes cost: their CPU seconds and memory, from Linux's /proc."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

_WATCH_S: Final = 0.25

#: CPU seconds, or bytes, of each part by its name.
Costs = Mapping[str, float]


def _stat(pid: int) -> list[str]:
    # The command's name may hold blanks and brackets; what counts stands behind it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """List a process and all that descend from it now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        # One may end while we look.
        with suppress(OSError):
            if entry.name.isdigit():
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Give the user and system seconds of processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / _TICKS_PER_S


def rss_bytes(pids: Iterable[int]) -> float:
    """Give the resident memory of processes; pages that they share count for each."""
    pages = 0
    for pid in pids:
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return float(pages * _PAGE_BYTES)


def less(after: Costs, before: Costs) -> Costs:
    """Subtract, part by part."""
    return {name: after[name] - before[name] for name in after}


class PeakWatch:
    """Reads costs now and then, and keeps the most of each part."""

    def __init__(self, read: Callable[[], Costs]) -> None:
        self._read = read
        self.peak: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for name, size in self._read().items():
                self.peak[name] = max(size, self.peak.get(name, 0.0))
            if self._over.wait(_WATCH_S):
                return
