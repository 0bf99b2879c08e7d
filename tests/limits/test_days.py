"""What a provider allows per day: from midnight to midnight of UTC."""

from pathlib import Path

import pytest

from pipeline.limits.tickets import Settlement
from tests.limits.rooms import (
    DONE,
    FAILED,
    Gates,
    advance,
    configured,
    deployment,
    to_midnight,
    use,
    woken,
)
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

UNSENT = Settlement(ending="failed", was_sent=False)


async def test_no_more_requests_go_than_a_day_holds_until_midnight(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    async with Gates(redis_url, client, configured(tmp_path, limits={"rpd": 2})) as gates:
        gate = gates.first
        await gate.end(await gate.take("a"))
        await gate.end(await gate.take("b"), FAILED)
        assert 43_100 < await gate.eta_s("c") <= 43_200
        await gate.wait("c", "d", "e")
        to_midnight(client, 10)
        await gate.admission.sweep()
        assert woken(client) == []
        advance(client, 11)
        await gate.admission.sweep()
        assert woken(client) == ["c", "d"]


async def test_no_more_tokens_go_than_a_day_holds_until_midnight(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    async with Gates(redis_url, client, configured(tmp_path, limits={"tpd": 50})) as gates:
        gate = gates.first
        await gate.take("a")
        await gate.take("b")
        await gate.take("small", prompt_tokens=5, output_tokens=5)
        assert 43_100 < await gate.eta_s("c", prompt_tokens=1, output_tokens=1) <= 43_200
        assert (await gate.refused("heavy", output_tokens=41)).why == "heavy"
        await gate.wait("d")
        advance(client, 43_205)
        await gate.admission.sweep()
        assert "d" in woken(client)


async def test_what_a_day_counted_beyond_the_usage_comes_back_on_that_day(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    limits = {"tpd": 50, "rpd": 3}
    async with Gates(redis_url, client, configured(tmp_path, limits=limits)) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", output_tokens=40), DONE)
        assert use(client, "d:p/a")[4:6] == [1, 20]
        await gate.end(await gate.take("b"), UNSENT)
        assert use(client, "d:p/a")[4:6] == [1, 20]
        await gate.end(await gate.take("c"), FAILED)
        assert use(client, "d:p/a")[4:6] == [2, 20]


async def test_a_call_over_midnight_counts_for_the_day_it_began_on(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    limits = {"tpd": 100, "rpd": 9}
    async with Gates(redis_url, client, configured(tmp_path, limits=limits)) as gates:
        gate = gates.first
        advance(client, 43_190)
        slow, unsent = await gate.take("slow"), await gate.take("unsent")
        advance(client, 20)
        await gate.end(await gate.take("next day"), DONE)
        await gate.end(slow, Settlement(ending="answered", prompt_tokens=1, completion_tokens=1))
        await gate.end(unsent, UNSENT)
        assert use(client, "d:p/a")[4:6] == [1, 20]


async def test_whose_day_is_used_up_leaves_the_work_to_the_next_candidate(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    models = {"m": {"deployments": [deployment("a", rpd=1), deployment("b", rpd=1)]}}
    async with Gates(redis_url, client, configured(tmp_path, models=models)) as gates:
        gate = gates.first
        got = [await gate.take(name) for name in ("x", "y")]
        assert [event.lease and event.lease.deployment for event in got] == ["p/a", "p/b"]
        await gate.wait("z")
