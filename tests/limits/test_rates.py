"""Requests per minute that a provider allows: an even pace, with a burst."""

from pathlib import Path

import pytest

from pipeline.limits.tickets import Settlement
from tests.limits.rooms import AGAIN, DONE, FAILED, Gates, advance, configured, deployment, woken
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

UNSENT = Settlement(ending="failed", was_sent=False)
TEN = tuple(f"r{n}" for n in range(10))


@pytest.mark.parametrize(
    ("limits", "at_once"),
    [
        ({"rpm": 6}, 1),
        ({"rpm": 59}, 1),
        ({"rpm": 120}, 2),
        ({"rpm": 419}, 6),
        ({"rpm": 6, "burst": 4}, 4),
        ({"rpm": 600, "burst": 3}, 3),
    ],
)
async def test_at_once_go_as_many_as_the_burst(
    redis_url: str, client: Client, tmp_path: Path, limits: dict[str, int], at_once: int
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits=limits)) as gates:
        assert len(await gates.first.rush(*TEN)) == at_once


async def test_who_waits_for_the_rate_is_woken_when_it_allows_and_not_before(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 3})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("a")
        assert 18 < await gate.eta_s("early") <= 20
        await gate.wait("b", "c")
        advance(client, 15)
        await gate.admission.sweep()
        assert woken(client) == []
        advance(client, 5)
        await gate.admission.sweep()
        assert woken(client) == ["b"]
        await gate.take("b")
        advance(client, 20)
        await gate.admission.sweep()
        assert woken(client) == ["b", "c"]


async def test_the_burst_comes_back_as_time_passes_and_no_more(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 6, "burst": 4})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for event in await gate.rush(*TEN):
            await gate.end(event)
        advance(client, 25)
        assert len(await gate.rush(*TEN)) == 2
        advance(client, 3600)
        assert len(await gate.rush(*(f"later {name}" for name in TEN))) == 4


async def test_the_end_of_a_call_does_not_bring_its_request_back(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 1, "burst": 3})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for name, end in [("a", DONE), ("b", FAILED), ("c", AGAIN)]:
            await gate.end(await gate.take(name), end)
        await gate.wait("d")


async def test_a_request_that_was_never_sent_does_not_count(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        unsent = await gate.take("a")
        await gate.wait("b")
        await gate.end(unsent, UNSENT)
        assert woken(client) == ["b"]


async def test_what_was_never_sent_gives_nothing_back_that_time_has_given_already(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        unsent = await gate.take("a")
        await gate.renew(unsent)
        advance(client, 59)
        await gate.renew(unsent)
        advance(client, 10)
        await gate.take("b")
        await gate.wait("c")
        await gate.end(unsent, UNSENT)
        assert woken(client) == []


async def test_the_tighter_of_the_deployments_and_the_providers_rate_holds(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    limits = {"rpm": 1, "burst": 2}
    settings = configured(
        tmp_path,
        providers={
            "p": {"kind": "simulated", "base_url": "http://127.0.0.1:1/v1", "limits": limits}
        },
        models={
            "m": {"deployments": [deployment("a", rpm=1, burst=9)]},
            "n": {"deployments": [deployment("b", rpm=1, burst=1)]},
        },
    )
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        assert len(await gate.rush(*TEN)) == 2
        assert len(await gate.rush(*(f"n {name}" for name in TEN), model="n")) == 1
