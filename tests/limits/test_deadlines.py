"""Deadlines: woken exactly then, and told at once where they cannot be met."""

from pathlib import Path

import pytest

from tests.limits.rooms import Gates, advance, configured, granted, in_state, use, wall, woken
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

LEASES, HELD = 2, 22


def came_back_s(client: Client) -> dict[str, float]:
    """Tell when each of those woken came back to the gate, in Unix seconds of Redis."""
    rows = client.xrange(NAMES.hop("gate"))
    times = [int(entry.split(b"-")[0]) / 1000 for entry, _ in rows]
    return dict(zip(rig.ids(client, "gate"), times, strict=True))


@pytest.mark.parametrize("held", [False, True], ids=["in the room", "held by our limit"])
async def test_who_waits_is_woken_exactly_at_its_deadline(
    redis_url: str, client: Client, tmp_path: Path, held: bool
) -> None:
    tenants = {"acme": {"limits": {"concurrency": 1 if held else 9}}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings, 3) as gates:
        one, two, three = gates.gates
        await one.take("first", tenant="acme")
        deadlines = {name: wall(client) + s for name, s in (("b", 0.5), ("a", 0.25), ("c", 90))}
        for gate, name in ((two, "b"), (three, "a"), (one, "c")):
            waiting = await gate.queue(name, tenant="acme", deadline=deadlines[name])
            assert waiting.scope == ("t:acme" if held else "")
        await rig.until(lambda: len(woken(client)) == 2, timeout_s=5)
        came = came_back_s(client)
        assert list(came) == ["a", "b"]
        for name, at in came.items():
            assert -0.002 < at - deadlines[name] < 0.2
        assert in_state(client, "held" if held else "waiting") == ["1.c"]
        assert use(client, "t:acme")[LEASES] == (1 if held else 2)


async def test_who_is_late_makes_way_for_those_held(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants = {"acme": {"limits": {"concurrency": 1}}, "zeta": {}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("z", tenant="zeta")
        await gate.queue("a", tenant="acme", deadline=wall(client) + 10)
        await gate.queue("b", tenant="acme")
        await gate.later(11)
        assert woken(client) == ["a"]
        assert (in_state(client, "waiting"), in_state(client, "held")) == (["1.b"], [])


async def test_a_deadline_outlasts_the_wait_for_our_limit(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants = {"acme": {"limits": {"rpm": 1}}, "zeta": {}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("first", tenant="acme"))
        holder = await gate.take("z", tenant="zeta")
        await gate.queue("a", tenant="acme", deadline=wall(client) + 70)
        await gate.later(40)
        await gate.renew(holder)
        await gate.later(21)
        assert in_state(client, "waiting") == ["1.a"]
        await gate.later(10)
        assert woken(client) == ["a"]
        assert in_state(client, "waiting") == []


async def test_who_was_let_in_is_not_disturbed_at_its_deadline(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first")
        await gate.queue("a", deadline=wall(client) + 10)
        await gate.end(holder)
        await gate.take("a")
        await gate.later(20)
        assert (woken(client), granted(client)) == (["a"], ["a"])


async def test_a_deadline_before_the_refill_is_told_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 2, "burst": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("first"))
        refusal = await gate.refused("hasty", deadline=wall(client) + 20)
        assert refusal.why == "unreachable"
        assert 25 < refusal.reset_s <= 30
        await gate.queue("patient", deadline=wall(client) + 40)


async def test_a_deadline_before_its_turn_is_told_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("first")
        await gate.wait(*(f"w{n}" for n in range(40)))
        order = await gate.serve(holder, 20, service_s=2)
        # 20 wait before it, of whom each takes 2 s.
        refusal = await gate.refused("hasty", deadline=wall(client) + 15)
        assert refusal.why == "unreachable"
        assert 30 < refusal.reset_s < 50
        assert (await gate.queue("patient", deadline=wall(client) + 60)).place == 21
        await gate.end(await gate.take(order[-1]))


async def test_a_deadline_before_our_limit_opens_is_told_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpm": 1}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("first", tenant="acme"))
        advance(client, 20)
        refusal = await gate.refused("hasty", tenant="acme", deadline=wall(client) + 30)
        assert (refusal.why, refusal.dimension) == ("limited", "rpm")
        assert 35 < refusal.reset_s <= 40.01
        await gate.queue("patient", tenant="acme", deadline=wall(client) + 45)
        assert use(client, "t:acme")[HELD] == 1
