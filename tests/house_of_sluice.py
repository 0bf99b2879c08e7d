"""A whole house of Sluice on free ports: Redis, simulated provider, gateway, workers.

Each part is a real process that a test may kill, stop or cut off; all end with the house.
"""

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self, cast

import redis

from pipeline.embedded import redis_server as embedded
from pipeline.names import Names
from tests.processes import Nursery, Spawned
from tests.reckoning import Upstream, entries, events
from tests.waiting import eventually

Section = Mapping[str, object]

_PYTHON = (sys.executable, "-P", "-m")
#: Quick enough for tests; a worker that shows no life for a second is dead.
_WORKERS: Section = {"liveness_s": 1, "scan_s": 0.3}


class House:
    """Redis at once; the other parts when they are started. `sections` join the configuration.

    Providers are simulated ones; `sim`, which has every model, is there unless it is given.
    """

    def __init__(
        self, directory: Path, binary: Path, redis_options: Mapping[str, str], **sections: Section
    ) -> None:
        self.directory = directory
        self.nursery = Nursery(directory)
        self.redis = embedded.EmbeddedRedis(
            directory / "redis", options=redis_options, binary=binary
        )
        self.redis.start()
        self.client = redis.Redis(port=self.redis.port, decode_responses=True, protocol=2)
        self.names = Names()
        self.port = embedded.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.simulated_port = embedded.free_port()
        #: Where the one worker tells its metrics; 0: no part tells any.
        self.metrics_port = 0
        self.upstream = Upstream(self.simulated_port)
        #: Of the environment of parts that are started from now on.
        self.variables: dict[str, str] = {}
        self.configure(sections)

    def configure(self, sections: Mapping[str, Section]) -> None:
        """Write the configuration; who runs goes by it once it has been reloaded."""
        base = f"http://127.0.0.1:{self.simulated_port}/v1"
        simulated: Section = {"kind": "simulated", "base_url": base}
        given: Section = {"sim": {"any_model": True}, **sections.get("providers", {})}
        providers = {
            name: {**simulated, **cast("Section", options)} for name, options in given.items()
        }
        models = {
            "fast": {"deployments": [{"provider": "sim", "model": "fast"}]},
            **sections.get("models", {}),
        }
        tree: dict[str, Section] = {
            **sections,
            "workers": {**_WORKERS, **sections.get("workers", {})},
            "providers": providers,
            "models": models,
        }
        # JSON is YAML, too.
        self.config = self.directory / "sluice.yaml"
        self.config.write_text(json.dumps(tree))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def environment(self, redis_url: str = "") -> dict[str, str]:
        """Give what a part is told; `redis_url` may lead by another way to Redis."""
        return {
            "SLUICE_CONFIG": str(self.config),
            "SLUICE_REDIS_URL": redis_url or self.redis.url,
            "SLUICE_PORT": str(self.port),
            "SLUICE_TELEMETRY__METRICS_PORT": str(self.metrics_port),
            **self.variables,
        }

    def start(self, *, workers: int = 1) -> Self:
        """Start a provider, a gateway and workers, and wait until all of them work."""
        self.start_simulated()
        gateway = self.spawn_gateway()
        spawned = [self.spawn_worker() for _ in range(workers)]
        self.await_gateway(gateway)
        for worker in spawned:
            self.await_worker(worker)
        return self

    def start_simulated(self, *options: str) -> Spawned:
        """Start the simulated provider."""
        arguments = [*_PYTHON, "workers.providers.simulated", "--port", str(self.simulated_port)]
        if options:
            arguments += ["--set", *options]
        simulated = self.nursery.spawn(arguments, name="simulated", warm=True)
        simulated.await_output("simulated provider on")
        return simulated

    def spawn_gateway(self, redis_url: str = "") -> Spawned:
        """Start a gateway; see `await_gateway`."""
        arguments = [*_PYTHON, "gateway"]
        return self.nursery.spawn(arguments, self.environment(redis_url), "gateway", warm=True)

    def await_gateway(self, gateway: Spawned) -> Spawned:
        """Wait until a gateway serves."""
        gateway.await_output("Gateway listens on")
        return gateway

    def spawn_worker(self, redis_url: str = "", module: str = "workers.app") -> Spawned:
        """Start a worker as `dramatiq` runs it; see `await_worker`."""
        arguments = [sys.executable, "-m", "dramatiq", module, "--processes", "1", "--threads", "1"]
        # As `sluice workers` does: else a worker that dies in its boot is noticed after 30 s.
        arguments += ["--worker-fork-timeout", "2000"]
        return self.nursery.spawn(arguments, self.environment(redis_url), "worker", warm=True)

    def spawn_crew(self, redis_url: str = "", processes: int = 1) -> Spawned:
        """Start `sluice workers`; see `await_worker`."""
        command = str(Path(sys.executable).with_name("sluice"))
        arguments = [command, "workers", "--processes", str(processes)]
        return self.nursery.spawn(arguments, self.environment(redis_url), "crew")

    def await_worker(self, worker: Spawned) -> str:
        """Wait until a worker, or the one of a crew, works; give its consumer's name."""

        def named() -> str:
            assert worker.process.poll() is None, worker.tail
            mine = {str(pid) for pid in family(worker.pid)}
            alive = (key.split(":")[-1] for key in self.client.scan_iter(self.names.worker("*")))
            return next((name for name in alive if name.split("-")[-2] in mine), "")

        name = eventually(named, 20.0, "a worker's sign of life")

        def told() -> bool:
            lines = worker.output.splitlines()
            return any("Worker started" in line and name in line for line in lines)

        eventually(told, 20.0, "the word that it has started")
        return name

    def start_worker(self, redis_url: str = "", module: str = "workers.app") -> tuple[Spawned, str]:
        """Start a worker and wait for it; give its consumer's name, too."""
        worker = self.spawn_worker(redis_url, module)
        return worker, self.await_worker(worker)

    def end(self) -> None:
        """End every process by force: what they leave behind is nobody's any more."""
        for child in self.nursery.spawned.values():
            kill_family(child)
        self.nursery.end()
        self.client.close()
        self.redis.kill()
        self.redis.stop()

    def xadd(self, events: Iterable[Mapping[str, object]], lane: str = "default") -> list[str]:
        """Write requests as a producer does, in one go; give their entries' ids."""
        with self.client.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.xadd(f"{self.names.prefix}:requests:{lane}", {"event": json.dumps(event)})
            return pipe.execute()

    def pending(self, hop: str, consumer: str) -> set[str]:
        """List the ids of the requests that a worker holds at a hop."""
        key = self.names.hop(hop)
        rows = self.client.xpending_range(key, hop, "-", "+", 10_000, consumer)
        theirs = {row["message_id"] for row in rows}
        held = [fields for entry, fields in entries(self.client, key) if entry in theirs]
        return {json.loads(fields["event"])["id"] for fields in held}

    def answers(self, stream: str) -> list[dict[str, object]]:
        """Read what was written to a callback stream."""
        return [dict(event) for event in events(self.client, stream)]

    def counter(self, name: str) -> int:
        """Read one of the counters that `status` shows."""
        return int(self.client.hget(self.names.counters, name) or 0)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        """Ask the gateway; give the status and the JSON of its answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            payload = body if isinstance(body, bytes | None) else json.dumps(body)
            link.request(method, path, payload)
            answer = link.getresponse()
            found: dict[str, object] = json.loads(answer.read() or b"{}")
            return answer.status, found
        finally:
            link.close()

    def later(self, model: str = "fast", **fields: object) -> str:
        """Put a request in by `POST /chat/async`; give its id."""
        status, told = self.ask("POST", "/chat/async", {"message": "hi", "model": model, **fields})
        assert status == 202, told
        return str(told["task_id"])


def requests(
    count: int, model: str = "fast", name: str = "r", **fields: object
) -> list[dict[str, object]]:
    """Write the requests `r0`, `r1` … of a direct producer."""
    messages = [{"role": "user", "content": "hi"}]
    return [
        {"request_id": f"{name}{number}", "model": model, "messages": messages, **fields}
        for number in range(count)
    ]


def family(pid: int) -> set[int]:
    """List a process and all that descend from it, in whatever group they are."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def kill_family(child: Spawned) -> None:
    """Kill a process with all its processes at once, as `kill -9` does."""
    if child.process.poll() is None:
        for pid in family(child.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.process.wait()


def signal_family(child: Spawned, number: signal.Signals) -> None:
    """Send a signal to a process and all its processes."""
    for pid in family(child.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
