"""The ground of a journey: a house with several workers, whose parts can be lost and come back."""

import json
import os
import random
import signal
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Self

import redis

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import House, family, kill_family
from tests.processes import Spawned
from tests.waiting import eventually
from tests.wire import Wire


def _deployed(model: str, **limits: int) -> dict[str, object]:
    return {"deployments": [{"provider": "sim", "model": model, "limits": limits}]}


#: The rungs of every model, in seconds.
LADDER = (1, 2)

#: What is asked for. With one quick retry a leg is two calls at the most.
MODELS: Mapping[str, Mapping[str, object]] = {
    "quick": _deployed("quick:ttft_ms=40,tokens=3"),
    "talk": _deployed("talk:ttft_ms=80,tokens=8,tps=20"),
    # These wait in a waiting room: for a place, and for the next second.
    "narrow": _deployed("narrow:ttft_ms=60,tokens=2", concurrency=6),
    "paced": _deployed("paced:tokens=2", rpm=1500, burst=3),
    # These climb: one rung, both, and both in vain.
    "shaky": _deployed("shaky:error=503,error_first=3,tokens=2"),
    "steep": _deployed("steep:error=503,error_first=5,tokens=2"),
    "broken": _deployed("broken:error=503"),
    "refused": _deployed("refused:error=400"),
}

_LIVENESS_S = 1.0


class Ground:
    """A started house; `wired` puts wires between us and Redis, and us and the provider."""

    def __init__(self, build_house: BuildHouse, chance: random.Random, **options: str) -> None:
        self.chance = chance
        self.house: House = build_house(
            options,
            models=MODELS,
            ladder=LADDER,
            retry={"quick": 1, "backoff_s": 0.05},
            gateway={"request_timeout_s": 40},
            workers={"liveness_s": _LIVENESS_S, "scan_s": 0.3},
        )
        self._stack = ExitStack()
        self._redis_url = ""
        self.to_redis: Wire | None = None
        self.to_provider: Wire | None = None
        self.workers: list[Spawned] = []
        self.gateway: Spawned | None = None
        #: What was destroyed outright in streams that were trimmed: request ids by stream.
        self.trimmed: dict[str, set[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Before their wires: who loses those writes a last word on them.
        self.house.end()
        self._stack.close()

    def wire(self) -> None:
        """Lay wires; before the start."""
        self.to_redis = self._stack.enter_context(Wire(self.house.redis.port))
        self.to_provider = self._stack.enter_context(Wire(self.house.simulated_port))
        self._redis_url = self.to_redis.url
        told = json.loads(self.house.config.read_text())
        told["providers"]["sim"]["base_url"] = f"http://127.0.0.1:{self.to_provider.port}/v1"
        self.house.config.write_text(json.dumps(told))

    def start(self, workers: int = 2) -> None:
        """Start all parts and wait until they work."""
        self.house.start_simulated()
        self.respawn_gateway()
        for _ in range(workers):
            self.spawn_worker()
        for worker in self.workers:
            self.house.await_worker(worker)
        assert self.gateway
        self.house.await_gateway(self.gateway)

    def spawn_worker(self) -> None:
        """Start one more worker; it may take its time."""
        self.workers.append(self.house.spawn_worker(self._redis_url))

    def respawn_gateway(self) -> None:
        """Start a gateway, in the place of one that may have been there."""
        self.gateway = self.house.spawn_gateway(self._redis_url)

    def kill_worker(self) -> None:
        """Kill any worker, and start another one."""
        doomed = self.workers.pop(self.chance.randrange(len(self.workers)))
        kill_family(doomed)
        self.spawn_worker()

    def shows_life(self, worker: Spawned) -> bool:
        """Tell whether a worker's sign of life is there."""
        mine = {str(pid) for pid in family(worker.pid)}
        keys = self.house.client.scan_iter(self.house.names.worker("*"))
        return any(key.split(":")[-1].split("-")[-2] in mine for key in keys)

    def signal_redis(self, number: signal.Signals) -> None:
        """Send Redis a signal."""
        assert self.house.redis.pid
        os.kill(self.house.redis.pid, number)

    def recover(self) -> None:
        """End every fault that still goes on, and have all parts work again."""
        self.house.redis.start()
        self.house.client.config_set("maxmemory", 0)
        for wire in (self.to_redis, self.to_provider):
            if wire:
                wire.go_on()
        eventually(self._gateway_serves, 20.0, "a gateway")
        eventually(self._workers_work, 20.0, "signs of life of all workers")

    # One that boots while Redis is away ends, as it should: a supervisor starts it anew.
    def _gateway_serves(self) -> bool:
        assert self.gateway
        if self.gateway.process.poll() is not None:
            self.respawn_gateway()
        return "Gateway listens on" in self.gateway.output

    def _workers_work(self) -> bool:
        for worker in [one for one in self.workers if one.process.poll() is not None]:
            self.workers.remove(worker)
            self.spawn_worker()
        with suppress(redis.ConnectionError):
            return all(self.shows_life(worker) for worker in self.workers)
        return False
