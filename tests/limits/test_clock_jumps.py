"""Redis's clock jumps an hour: nothing leaks, nothing blocks, nobody waits longer for it."""

from pathlib import Path

import pytest

from pipeline.limits.tickets import Settlement
from tests.limits.rooms import (
    Gates,
    advance,
    calls,
    configured,
    in_state,
    provider,
    to_midnight,
    use,
    woken,
)
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

HOUR = 3600
JUMPS = [pytest.param(HOUR, id="ahead"), pytest.param(-HOUR, id="back")]


@pytest.mark.parametrize("limits", [{"rpm": 3}, {"tpm": 60}])
async def test_nobody_waits_longer_when_the_clock_is_set_back(
    redis_url: str, client: Client, tmp_path: Path, limits: dict[str, int]
) -> None:
    to_midnight(client, 43_200)
    async with Gates(redis_url, client, configured(tmp_path, limits=limits)) as gates:
        gate = gates.first
        await gate.take("a")
        await gate.wait("b")
        await gate.later(-HOUR)
        assert woken(client) == []
        await gate.later(20.1)
        assert woken(client) == ["b"]
        assert 19 < await gate.eta_s("c") <= 20


@pytest.mark.parametrize("limits", [{"rpm": 3}, {"tpm": 60}])
async def test_a_clock_that_came_back_blocks_nobody_who_came_in_between(
    redis_url: str, client: Client, tmp_path: Path, limits: dict[str, int]
) -> None:
    to_midnight(client, 43_200)
    async with Gates(redis_url, client, configured(tmp_path, limits=limits)) as gates:
        gate = gates.first
        await gate.take("a")
        await gate.later(HOUR)
        await gate.take("b")
        await gate.wait("c")
        await gate.later(-HOUR)
        await gate.later(20.1)
        assert woken(client) == ["c"]


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_call_under_way_keeps_its_place_and_gives_it_back_once(
    redis_url: str, client: Client, tmp_path: Path, jump: float
) -> None:
    to_midnight(client, 43_200)
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 2})) as gates:
        gate = gates.first
        held = [await gate.take(name) for name in "ab"]
        advance(client, jump)
        for event in held:
            await gate.renew(event)
        assert in_state(client, "lease") == ["1.a", "1.b"]
        assert calls(client, "d:p/a") == 2
        await gate.wait("c")
        for event in held:
            await gate.end(event)
        await gate.end(await gate.take("c"))
        assert calls(client, "d:p/a") == 0


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_lease_of_the_dead_runs_out_a_minute_after_whatever_the_clock_does(
    redis_url: str, client: Client, tmp_path: Path, jump: float
) -> None:
    to_midnight(client, 43_200)
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        await gate.take("of the dead")
        await gate.wait("a")
        await gate.later(jump)
        await gate.later(30)
        await gate.later(31)
        assert set(woken(client)) == {"a"}


async def test_a_key_rests_no_longer_when_the_clock_is_set_back(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    settings = configured(
        tmp_path, gate={"probe_s": 30}, providers={"p": provider("k1", "k2", limits_per="key")}
    )
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        resting, dead = await gate.take("a"), await gate.take("b")
        await gate.end(resting, Settlement(ending="again", rest_s=30))
        await gate.end(dead, Settlement(ending="again", dead="401"))
        await gate.later(-HOUR)
        assert 29 < await gate.eta_s("c") <= 30
        advance(client, 31)
        got = await gate.rush(*"defg")
        assert {event.lease.key for event in (*got, dead, resting) if event.lease} == {
            event.lease.key for event in got if event.lease
        }


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_days_limit_lasts_until_midnight_by_the_clock_of_people(
    redis_url: str, client: Client, tmp_path: Path, jump: float
) -> None:
    to_midnight(client, 43_200)
    async with Gates(redis_url, client, configured(tmp_path, limits={"rpd": 1})) as gates:
        gate = gates.first
        await gate.end(await gate.take("a"))
        await gate.wait("b")
        await gate.later(jump)
        to_midnight(client, 5)
        await gate.admission.sweep()
        assert woken(client) == []
        await gate.later(6)
        assert woken(client) == ["b"]
        assert use(client, "d:p/a")[4] == 1


async def test_a_class_ages_by_the_time_that_passes(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    settings = configured(tmp_path, gate={"aging_s": 30}, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        held = await gate.take("a")
        await gate.wait("low", priority=-10)
        await gate.later(-HOUR)
        await gate.wait("high 1", "high 2", priority=10)
        await gate.later(31)
        await gate.renew(held)
        await gate.end(held)
        assert woken(client) == ["low"], "unserved for longer than aging"


async def test_what_is_left_after_jumps_is_nothing(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    limits = {"concurrency": 3, "rpm": 600, "burst": 100, "tpm": 600_000}
    async with Gates(redis_url, client, configured(tmp_path, limits=limits), 2) as gates:
        for n, jump in enumerate([HOUR, -HOUR, 10, -3 * HOUR, 2 * HOUR, -5]):
            held = [await gates.gates[i % 2].take(f"r{n}.{i}") for i in range(3)]
            await gates.first.wait(f"w{n}")
            advance(client, jump)
            for event in held:
                await gates.gates[1].end(event)
            await gates.first.end(await gates.first.take(f"w{n}"))
        assert in_state(client, "lease") == in_state(client, "waiting") == []
        assert calls(client, "d:p/a") == 0
