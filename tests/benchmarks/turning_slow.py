"""What strategies make of a deployment that turns slow for a time: three simulated providers, of
which the fastest takes 3 s to its first token instead of 0.1 s, and then 0.1 s again.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Final

import httpx
import msgspec

from pipeline.embedded.redis_server import free_port
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground

#: Time to the first token of each deployment, in ms; the first is the one that turns slow.
FIRST_TOKEN_MS: Final = {"swift": 100, "steady": 150, "sober": 150}
SLOW_MS: Final = 3000
_TURNS: Final = "swift"

#: Requests a second, and how long each phase lasts in seconds.
_RATE: Final = 20
_PHASES: Final = {"well": 8, "slow": 15, "well again": 30}
_QUICK: Final = {"well": 5, "slow": 6, "well again": 10}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One request: when it was sent after the beginning, who served it, and its first token."""

    at_s: float
    model: str
    first_ms: float


def run(bench: Bench) -> list[Figure]:
    """Let the same happen under both strategies."""
    phases = _QUICK if bench.quick else _PHASES
    by_latency = _measure(bench, "latency", phases)
    by_weight = _measure(bench, "weighted", phases)
    turned, back = _bounds(phases)
    slow = [_between(seen, turned, back) for seen in (by_latency, by_weight)]
    beside = f"weighted: {shown(_p95(slow[1]))} ms"
    return [
        Figure(
            what="slow deployment has lost its traffic after",
            value=_lost_after(by_latency, turned),
            unit="s",
            at_most=5,
        ),
        Figure(
            what="… and has it again after it has recovered",
            value=_back_after(by_latency, back),
            unit="s",
            at_most=30,
        ),
        Figure(
            what="first token while it is slow, p95",
            value=_p95(slow[0]),
            unit="ms",
            beside=beside,
        ),
        Figure(
            what="… requests that it got meanwhile",
            value=100 * _share(slow[0]),
            unit="%",
            beside=f"weighted: {shown(100 * _share(slow[1]))} %",
        ),
    ]


def _measure(bench: Bench, strategy: str, phases: dict[str, int]) -> list[Seen]:
    directory = bench.directory / strategy
    directory.mkdir()
    with Ground(msgspec.structs.replace(bench, directory=directory)) as ground:
        ports = {name: free_port() for name in FIRST_TOKEN_MS}
        for name, port in ports.items():
            simulated = ["-m", "workers.providers.simulated", "--port", str(port)]
            ground.start(name, simulated, until="simulated provider on")
            _behave(port, FIRST_TOKEN_MS[name])
        file = directory / "sluice.yaml"
        file.write_bytes(msgspec.json.encode(_configuration(strategy, ports)))
        environment = {"SLUICE_CONFIG": str(file)}
        ground.start(
            "gateway", ["-m", "gateway"], until="Gateway listens on", environment=environment
        )
        worker = ["-m", "dramatiq", "--processes", "1", "--threads", "1", "workers.app"]
        ground.start("worker", worker, until="ready for action", environment=environment)
        bench.say(f"{strategy}: {sum(phases.values())} s")
        return asyncio.run(_load(ground.gateway_port, ports[_TURNS], phases))


def _configuration(strategy: str, ports: dict[str, int]) -> dict[str, object]:
    providers = {
        name: {"kind": "simulated", "base_url": f"http://127.0.0.1:{port}/v1"}
        for name, port in ports.items()
    }
    deployments = [{"provider": name, "model": name} for name in ports]
    return {
        "providers": providers,
        "models": {"fast": {"strategy": strategy, "deployments": deployments}},
    }


def _behave(port: int, first_token_ms: float) -> None:
    options = {"ttft_ms": first_token_ms, "tps": 200, "tokens": 20}
    httpx.put(f"http://127.0.0.1:{port}/behaviour", json=options).raise_for_status()


async def _load(gateway: int, turns: int, phases: dict[str, int]) -> list[Seen]:
    seen: list[Seen] = []
    turned, back = _bounds(phases)
    end = back + phases["well again"]
    changes = [(turned, SLOW_MS), (back, FIRST_TOKEN_MS[_TURNS])]
    began = time.monotonic()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway}", timeout=60) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in itertools.count():
            at_s = number / _RATE
            if at_s >= end:
                break
            await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
            while changes and changes[0][0] <= at_s:
                await asyncio.to_thread(_behave, turns, changes.pop(0)[1])
            group.create_task(_ask(client, at_s, seen))
    return sorted(seen, key=lambda one: one.at_s)


async def _ask(client: httpx.AsyncClient, at_s: float, seen: list[Seen]) -> None:
    body = {"model": "fast", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    began = time.monotonic()
    first_ms = 0.0
    model = ""
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: {") and not model:
                first_ms = (time.monotonic() - began) * 1000
                model = msgspec.json.decode(line.removeprefix("data: "))["model"]
    seen.append(Seen(at_s=at_s, model=model, first_ms=first_ms))


def _bounds(phases: dict[str, int]) -> tuple[int, int]:
    return phases["well"], phases["well"] + phases["slow"]


def _between(seen: Sequence[Seen], begin_s: float, end_s: float) -> list[Seen]:
    return [one for one in seen if begin_s <= one.at_s < end_s]


def _share(seen: Sequence[Seen]) -> float:
    return sum(one.model == _TURNS for one in seen) / max(1, len(seen))


def _p95(seen: Sequence[Seen]) -> float:
    return quantiles([one.first_ms for one in seen], n=20)[-1]


def _lost_after(seen: Sequence[Seen], turned_s: float) -> float:
    """Tell when a second begins in which it gets less than a tenth."""
    for tenth in range(1000):
        begin_s = turned_s + tenth / 10
        if _share(_between(seen, begin_s, begin_s + 1)) < 0.1:
            return tenth / 10
    return 100.0


def _back_after(seen: Sequence[Seen], back_s: float) -> float:
    """Tell when a second begins in which it gets more than half."""
    for tenth in range(1000):
        begin_s = back_s + tenth / 10
        if _share(_between(seen, begin_s, begin_s + 1)) > 0.5:
            return tenth / 10
    return 100.0
