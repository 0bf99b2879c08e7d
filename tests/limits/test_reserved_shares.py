"""Reserved shares: a class keeps a part of what providers allow to itself."""

from pathlib import Path

import pytest

from pipeline.settings.load import Settings
from tests.limits.rooms import Gates, calls, configured, provider, to_midnight, woken
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

HIGH, LOW = 10, -10
MANY = tuple(f"r{n}" for n in range(30))


def sharing(directory: Path, reserve: dict[str, float], **limits: int) -> Settings:
    """Configure shares of one deployment's limits."""
    return configured(directory, gate={"reserve": reserve}, limits=limits)


@pytest.mark.parametrize(
    ("reserve", "priority", "most"),
    [
        ({"high": 0.3}, HIGH, 10),
        ({"high": 0.3}, 0, 7),
        ({"high": 0.3}, LOW, 7),
        ({"high": 0.3, "default": 0.2}, HIGH, 8),
        ({"high": 0.3, "low": 0.5}, LOW, 7),
        ({"high": 0.3, "low": 0.5}, 0, 5),
    ],
)
async def test_what_a_class_reserves_is_not_for_the_others(
    redis_url: str,
    client: Client,
    tmp_path: Path,
    *,
    reserve: dict[str, float],
    priority: int,
    most: int,
) -> None:
    settings = sharing(tmp_path, reserve, concurrency=10)
    async with Gates(redis_url, client, settings) as gates:
        assert len(await gates.first.rush(*MANY, priority=priority)) == most


@pytest.mark.parametrize(
    ("limits", "low", "high"),
    [
        ({"rpm": 10, "burst": 10}, 7, 3),
        ({"tpm": 12_000}, 7, 3),
        ({"rpd": 10}, 7, 3),
        ({"tpd": 200}, 7, 3),
    ],
)
async def test_shares_are_of_every_limit(
    redis_url: str,
    client: Client,
    tmp_path: Path,
    *,
    limits: dict[str, int],
    low: int,
    high: int,
) -> None:
    to_midnight(client, 43_200)
    settings = sharing(tmp_path, {"high": 0.3}, **limits)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        assert len(await gate.rush(*MANY, priority=LOW)) == low
        assert len(await gate.rush(*(f"h {name}" for name in MANY), priority=HIGH)) == high


async def test_a_class_that_waits_does_not_keep_another_from_its_share(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = sharing(tmp_path, {"high": 0.5}, concurrency=2)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        low = await gate.take("low", priority=LOW)
        await gate.wait("default", priority=0)
        await gate.end(await gate.take("high", priority=HIGH))
        assert woken(client) == []
        await gate.end(low)
        assert woken(client) == ["default"]


async def test_shares_hold_for_each_key(redis_url: str, client: Client, tmp_path: Path) -> None:
    limits = {"concurrency": 2}
    settings = configured(
        tmp_path,
        gate={"reserve": {"high": 0.5}},
        providers={"p": provider("k1", "k2", limits_per="key", limits=limits)},
    )
    async with Gates(redis_url, client, settings) as gates:
        got = await gates.first.rush(*MANY, priority=LOW)
        assert len({event.lease and event.lease.key for event in got}) == len(got) == 2
        assert len(await gates.first.rush("h1", "h2", "h3", priority=HIGH)) == 2


async def test_a_class_that_went_beyond_its_share_gives_it_all_back(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = sharing(tmp_path, {"high": 0.3}, concurrency=10)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for event in await gate.rush(*MANY, priority=HIGH):
            await gate.end(event)
        low = await gate.rush(*(f"l {name}" for name in MANY), priority=LOW)
        assert len(low) == 7
        for event in low:
            await gate.end(event)
        assert calls(client, "d:p/a") == calls(client, "d:p/a!1") == 0
