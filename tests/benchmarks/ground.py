"""The ground a benchmark stands on: Redis, gateway, worker and simulated provider.

Each is a process of its own on a port of its own, started for one benchmark and ended with it.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import msgspec
import redis

from pipeline.embedded.redis_server import EmbeddedRedis, free_port
from tests.benchmarks.costs import Costs, cpu_s, family, rss_bytes
from tests.benchmarks.loading import PYTHON, ROOT, BenchmarkFailed, Measured, load
from tests.benchmarks.plans import Plan
from tests.processes import Nursery, Spawned

_DRAMATIQ: Final = ("-m", "dramatiq", "--processes", "1", "--threads", "1")
_BOOT_S: Final = 60.0

#: A start that is not told by output: Dramatiq holds its processes' output back while they boot.
BY_REDIS: Final = "by Redis"
#: Lists by which a process tells that it is there, and is told to begin.
WAITING, GO = "bench:waiting", "bench:go"


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """How a benchmark is to be carried out."""

    quick: bool
    #: A folder for everything that the processes write.
    directory: Path
    append_only: bool = False

    def size(self, full: int, quick: int) -> int:
        """Choose a size."""
        return quick if self.quick else full

    def say(self, line: str) -> None:
        """Tell how far it is."""
        print(f"  {line}", flush=True)


class Ground:
    """Redis, and as many of the other parts as were started; use it as a context."""

    def __init__(self, bench: Bench) -> None:
        options = {"appendonly": "yes" if bench.append_only else "no"}
        self.redis = EmbeddedRedis(bench.directory / "redis", options=options)
        self.gateway_port, self.simulated_port = free_port(), free_port()
        self._nursery = Nursery(bench.directory)
        self._undo = ExitStack()
        self._pids: dict[str, list[int]] = {}
        #: Of the environment of parts that are started from now on.
        self.environment: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        self._undo.enter_context(self.redis)
        self._undo.callback(self._nursery.end)
        self.client = self._undo.enter_context(redis.Redis(port=self.redis.port, protocol=2))
        assert self.redis.pid is not None
        self._pids["redis"] = [self.redis.pid]
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def start_all(self, *, calls: int = 1000) -> None:
        """Start the simulated provider, the gateway, and a worker for so many calls at once."""
        simulated = ["-m", "workers.providers.simulated", "--port", str(self.simulated_port)]
        self.start("simulated", simulated, until="simulated provider on")
        self.start("gateway", ["-m", "gateway"], until="Gateway listens on")
        self.start_worker("workers.app", calls=calls)

    def start_worker(self, app: str, *, calls: int = 1000, until: str = "ready for action") -> None:
        """Start a worker of one process under the `dramatiq` command."""
        calls_at_once = {"SLUICE_WORKERS__CALLS": str(calls)}
        self.start("worker", [*_DRAMATIQ, app], until=until, environment=calls_at_once)

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        until: str,
        environment: Mapping[str, str] | None = None,
    ) -> Spawned:
        """Start a part and wait until its output has these words.

        `BY_REDIS` waits until it pushes something onto the list `bench:waiting` instead.
        """
        variables = {
            "SLUICE_REDIS_URL": self.redis.url,
            "SLUICE_PORT": str(self.gateway_port),
            "SLUICE_SIMULATE__PORT": str(self.simulated_port),
            "PYTHONPATH": str(ROOT),
            **self.environment,
            **(environment or {}),
        }
        child = self._nursery.spawn([*PYTHON, *arguments], variables, name)
        if until != BY_REDIS:
            child.await_output(until, _BOOT_S)
        elif not self.client.blpop([WAITING], timeout=_BOOT_S):
            raise BenchmarkFailed(f"the {name} did not start:\n{child.tail}")
        self._pids[name] = family(child.pid)
        return child

    def start_beside(self, name: str, arguments: Sequence[str], until: str) -> None:
        """Start what is no part of the product, and not measured."""
        variables = {"PYTHONPATH": str(ROOT)}
        self._nursery.spawn(arguments, variables, name).await_output(until, _BOOT_S)

    def part(self, name: str) -> Spawned:
        """Give the process of a part."""
        return self._nursery.spawned[name]

    def end(self, name: str) -> None:
        """End a part."""
        self._nursery.spawned.pop(name).end()
        del self._pids[name]

    def spent(self) -> Costs:
        """Read the CPU seconds of each part so far."""
        return {name: cpu_s(pids) for name, pids in self._pids.items()}

    def memory(self) -> Costs:
        """Read the memory of each part, in bytes."""
        return {name: rss_bytes(pids) for name, pids in self._pids.items()}

    def load(self, plan: Plan, timeout_s: float = 120.0) -> Measured:
        """Carry out a plan; raises BenchmarkFailed."""
        return load(plan, self.spent, self.memory, timeout_s)
