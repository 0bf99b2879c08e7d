"""Eight processes ask for more than every limit allows: none of them is ever exceeded."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import redis

from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.names import Names
from tests.journeys.flood import BEGUN, READY, Granted, Order
from tests.processes import Nursery, Spawn
from tests.reckoning import Reckoning

pytestmark = pytest.mark.journey

_PROCESSES = 8
_RUN_S = 6.0
#: What a busy machine may take to start eight processes, and to end them.
_BOOT_S = 40
#: Limits of the provider by model; all processes ask for each. Those of no limits are asked for by
#: the tenant of their name.
_LIMITS = {
    "paced": {"rpm": 120, "burst": 2},
    "quick": {"rpm": 6000},
    "narrow": {"concurrency": 5},
    "heavy": {"tpm": 60_000},
    "all": {"rpm": 3000, "burst": 5, "tpm": 120_000, "concurrency": 7},
    "minute": {},
    "day": {},
    "tokens": {},
    "window": {},
}
_TENANTS = {
    "minute": {"rpm": 100},
    "day": {"rpd": 90},
    "tokens": {"tpm": 4000, "concurrency": 3},
    "window": {"window": {"requests": 20, "seconds": 1}},
}


class Flooded(NamedTuple):
    """What the flood left: Redis, and all leases by model in the order of their grants."""

    client: redis.Redis
    granted: dict[str, list[Granted]]


@pytest.fixture(scope="module")
def flooded(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flooded]:
    """Let the flood run once, and give what it left."""
    directory = tmp_path_factory.mktemp("flood")
    config = directory / "sluice.yaml"
    config.write_bytes(msgspec.json.encode(_configuration()))
    nursery = Nursery(directory)
    options = {"appendonly": "no"}
    with EmbeddedRedis(directory / "redis", options=options, binary=redis_binary) as server:
        try:
            granted = _flood(nursery.spawn, config, server.url)
            with redis.Redis(port=server.port, protocol=2, decode_responses=True) as client:
                yield Flooded(client, granted)
        finally:
            nursery.end()


def _configuration() -> dict[str, object]:
    models = {
        model: {"deployments": [{"provider": "p", "model": model, "limits": limits}]}
        for model, limits in _LIMITS.items()
    }
    return {
        "gateway": {"default_model": "paced"},
        "providers": {"p": {"kind": "simulated", "base_url": "http://127.0.0.1:1/v1"}},
        "models": models,
        "tenants": {name: {"limits": limits} for name, limits in _TENANTS.items()},
    }


def _flood(spawn: Spawn, config: Path, url: str) -> dict[str, list[Granted]]:
    models = {model: model if model in _TENANTS else "" for model in _LIMITS}
    children = []
    for number in range(_PROCESSES):
        order = Order(name=str(number), config=str(config), url=url, seconds=_RUN_S, models=models)
        told = msgspec.json.encode(order).decode()
        children.append(spawn([sys.executable, "-m", "tests.journeys.flood", told], {}, "f"))
    with redis.Redis.from_url(url, protocol=2) as client:
        for _ in children:
            assert client.blpop([READY], timeout=_BOOT_S), children[0].tail
        client.rpush(BEGUN, time.time())
    assert [child.wait(_RUN_S + _BOOT_S) for child in children] == [0] * _PROCESSES, children[
        0
    ].tail
    granted: dict[str, list[Granted]] = {model: [] for model in models}
    for child in children:
        for line in child.output.splitlines():
            one = msgspec.json.decode(line, type=Granted)
            granted[one.model].append(one)
    for leases in granted.values():
        leases.sort(key=lambda one: one.at)
    return granted


def _most_in_window(leases: Sequence[Granted], span_ms: float) -> int:
    """Count the most grants in any window of so long."""
    first = most = 0
    for last, lease in enumerate(leases):
        while lease.at - leases[first].at > span_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


def _most_at_once(leases: Sequence[Granted]) -> int:
    # What ends and begins in the same ms may have been told in any order.
    steps = sorted([(one.at, 1) for one in leases] + [(one.end, -1) for one in leases])
    at_once = most = 0
    for _, step in steps:
        at_once += step
        most = max(most, at_once)
    return most


def _excess(leases: Sequence[Granted], rpm: float, burst: float) -> float:
    """Tell by how many grants any window, short or long, exceeded its limit and burst."""
    per_ms, worst, lowest = rpm / 60_000, -float(rpm), 0.0
    # Of all windows that end with a grant the fullest begins where `n - at·rate` was lowest.
    for number, lease in enumerate(leases):
        here = number - lease.at * per_ms
        lowest = min(lowest, here) if number else here
        worst = max(worst, here + 1 - lowest - burst)
    return worst


@pytest.mark.parametrize(
    ("model", "rpm", "burst"), [("paced", 120, 2), ("quick", 6000, 100), ("all", 3000, 5)]
)
def test_requests_never_exceed_a_providers_limit_in_any_window(
    flooded: Flooded, model: str, rpm: int, burst: int
) -> None:
    leases = flooded.granted[model]
    assert _excess(leases, rpm, burst) <= 0.01
    run_ms = leases[-1].at - leases[0].at
    if model != "all":
        assert len(leases) >= 0.97 * rpm * run_ms / 60_000, "the limit was not used"


@pytest.mark.parametrize(("model", "concurrency"), [("narrow", 5), ("all", 7), ("tokens", 3)])
def test_calls_at_once_never_exceed_their_limit(
    flooded: Flooded, model: str, concurrency: int
) -> None:
    assert _most_at_once(flooded.granted[model]) <= concurrency


@pytest.mark.parametrize(("model", "tpm"), [("heavy", 60_000), ("all", 120_000)])
def test_tokens_never_exceed_a_providers_limit(flooded: Flooded, model: str, tpm: int) -> None:
    leases = flooded.granted[model]
    burst, used = tpm / 60, 0
    for lease in leases:
        # What was reserved and is known not to be used has gone to others.
        allowed = tpm * (lease.at - leases[0].at) / 60_000 + burst
        assert used + lease.taken <= allowed + 1
        used += lease.used


def test_tenants_never_exceed_their_limits_of_a_minute_a_day_or_a_window(flooded: Flooded) -> None:
    granted = flooded.granted
    assert _most_in_window(granted["minute"], 60_000) == 100
    assert len(granted["day"]) == 90
    assert _most_in_window(granted["window"], 1000) == 20
    assert len(granted["window"]) >= 20 * (_RUN_S - 1)
    tokens = sum(one.used for one in granted["tokens"])
    # Three at once: how much of it they come to use in the time depends on the machine.
    assert 1000 < tokens <= 4000


def test_when_all_has_settled_the_counters_are_the_truth(flooded: Flooded) -> None:
    client, granted = flooded
    names = Names()
    assert Reckoning(client, names).left_over() == {}
    for model, leases in granted.items():
        scope = f"t:{model}" if model in _TENANTS else f"d:p/{model}"
        day = _use(client, f"{names.limits}:use:{scope}")
        assert day == (len(leases), sum(one.used for one in leases)), model


def _use(client: redis.Redis, key: str) -> tuple[float, float]:
    """Read a day's requests and tokens of a scope."""
    port = client.connection_pool.connection_kwargs["port"]
    with redis.Redis(port=port, protocol=2) as plain:
        packed: bytes | None = plain.get(key)
    assert packed is not None, key
    use = msgspec.msgpack.decode(packed)
    return use[4], use[5]
