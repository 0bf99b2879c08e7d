"""Leases: so many calls at once as a deployment allows, each given back once."""

from pathlib import Path

import pytest

from tests.limits.rooms import AGAIN, Gates, advance, configured, in_state, woken
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio


async def test_no_more_calls_at_once_than_a_deployment_allows(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 2})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first, second = await gate.take("a"), await gate.take("b")
        await gate.wait("c", "d")
        assert in_state(client, "lease") == ["1.a", "1.b"]
        await gate.end(first)
        assert woken(client) == ["c"]
        await gate.take("c")
        await gate.end(second)
        assert woken(client) == ["c", "d"]
    assert not client.exists(NAMES.parked)


async def test_asking_twice_gives_the_same_lease(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings, 2) as gates:
        first = await gates.gates[0].take("a")
        assert (await gates.gates[1].take("a")).lease == first.lease
        await gates.first.wait("b")


async def test_a_late_end_settles_nothing(redis_url: str, client: Client, tmp_path: Path) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first = await gate.take("a")
        await gate.end(first, AGAIN)
        await gate.take("a")
        await gate.end(first)
        assert in_state(client, "lease") == ["1.a"]
        await gate.wait("b")


async def test_a_lease_that_nobody_renews_runs_out(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        held = await gate.take("a")
        await gate.wait("b")
        advance(client, 45)
        await gate.admission.renew([held])
        advance(client, 45)
        await gate.admission.sweep()
        assert woken(client) == []
        advance(client, 61)
        await gate.admission.sweep()
        assert woken(client) == ["b"]
