"""Runs the load generator beside the parts, and tells what it saw and what they spent."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tests.benchmarks.costs import Costs, PeakWatch, less
from tests.benchmarks.figures import shown
from tests.benchmarks.plans import Plan, Report

PYTHON: Final = (sys.executable, "-P")
ROOT: Final = Path(__file__).parents[2]

#: The parts whose CPU seconds are the product's; the others are the measuring.
OURS: Final = ("gateway", "worker", "redis")


class BenchmarkFailed(RuntimeError):
    """A benchmark could not be carried out; the text says why."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One load: what the generator saw, and what the parts spent on it."""

    report: Report
    #: CPU seconds of each part.
    spent: Costs
    #: Bytes of memory of each part: before, and the most of them.
    rss: Costs
    peak_rss: Costs

    @property
    def requests(self) -> int:
        """How many were answered, by all targets."""
        return sum(account.requests for account in self.report.accounts)

    @property
    def frames(self) -> int:
        """How many frames of streams came."""
        return sum(account.frames for account in self.report.accounts)

    @property
    def faults(self) -> dict[str, int]:
        """What went wrong, and how often."""
        return {
            what: times
            for account in self.report.accounts
            for what, times in account.faults.items()
        }

    @property
    def rate(self) -> float:
        """Give the requests per second."""
        return self.requests / self.report.seconds

    @property
    def ours_s(self) -> float:
        """Give the CPU seconds of the gateway, the worker and Redis."""
        return sum(self.spent.get(part, 0.0) for part in OURS)

    def parts(self, unit_s: float, per: float) -> str:
        """Write what each part and the load spent, in a unit of seconds, for each of `per`."""
        parts = {**self.spent, "load": self.report.cpu_s}
        return split(parts, per * unit_s)

    def checked(self) -> "Measured":
        """Give this, if nothing went wrong; raises BenchmarkFailed."""
        if self.faults:
            raise BenchmarkFailed(f"of {self.requests} requests some failed: {self.faults}")
        return self


def split(spent: Costs, unit: float) -> str:
    """Write what each part spent, ours first, in a unit; who did next to nothing is left out."""
    least = sum(spent.values()) / 200
    names = sorted(spent, key=lambda name: (*OURS, name).index(name))
    return ", ".join(f"{name} {shown(spent[name] / unit)}" for name in names if spent[name] > least)


def load(
    plan: Plan, spent: Callable[[], Costs], memory: Callable[[], Costs], timeout_s: float
) -> Measured:
    """Carry out a plan; raises BenchmarkFailed."""
    with _generator(plan, timeout_s) as next_line:
        if next_line() != "ready":
            raise BenchmarkFailed("the load generator's first requests were not answered")
        before, rss, watch = spent(), memory(), PeakWatch(memory)
        with watch:
            line = next_line()
        after = spent()
    if not line:
        raise BenchmarkFailed(f"the load was not over after {timeout_s:.0f} s")
    return Measured(
        report=msgspec.json.decode(line, type=Report),
        spent=less(after, before),
        rss=rss,
        peak_rss=watch.peak,
    )


@contextmanager
def _generator(plan: Plan, timeout_s: float) -> Iterator[Callable[[], str]]:
    """Run the load generator; gives what reads its next line, empty when it has ended."""
    process = subprocess.Popen(
        [*PYTHON, "-m", "tests.benchmarks.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    bound = threading.Timer(timeout_s, process.kill)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as plans, process.stdout as lines:
        try:
            bound.start()
            plans.write(msgspec.json.encode(plan))
            plans.close()
            yield lambda: lines.readline().decode().strip()
        finally:
            bound.cancel()
            process.kill()
            process.wait()
