"""Our limits: whom each holds for, and whom it leaves alone."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.limits.tickets import Settlement
from tests.limits.rooms import FAILED, Gates, configured, granted, in_state, use, woken
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

#: Number of leases in what is used of a scope.
LEASES = 2
TOKEN = "0a1b2c3d"


async def test_a_tenants_limit_leaves_other_tenants_alone(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants = {name: {"limits": {"rpm": 2}} for name in ("acme", "zeta")}
    async with Gates(redis_url, client, configured(tmp_path, tenants=tenants)) as gates:
        gate = gates.first
        for n in range(2):
            await gate.take(f"a{n}", tenant="acme")
        assert (await gate.queue("a2", tenant="acme")).scope == "t:acme"
        for n in range(2):
            await gate.take(f"z{n}", tenant="zeta")
        assert (await gate.queue("z2", tenant="zeta")).scope == "t:zeta"


async def test_who_is_no_tenant_has_no_limit(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants = {"acme": {"limits": {"rpm": 1}, "users": {"default": {"rpm": 1}}}}
    async with Gates(redis_url, client, configured(tmp_path, tenants=tenants)) as gates:
        for n in range(5):
            await gates.first.take(f"r{n}", tenant="other", user="bob")


@pytest.mark.parametrize(
    ("section", "field", "scope"),
    [("users", "user", "u"), ("token_limits", "token", "x"), ("model_limits", "model", "m")],
)
async def test_a_default_limit_holds_for_each_member_by_itself(
    redis_url: str, client: Client, tmp_path: Path, section: str, field: str, scope: str
) -> None:
    deployments = {"deployments": [{"provider": "p", "model": "a"}]}
    names = {"user": ("bob", "eve"), "token": ("00000001", "00000002"), "model": ("m", "n")}[field]
    settings = configured(
        tmp_path,
        models={"m": deployments, "n": deployments},
        tenants={"acme": {section: {"default": {"rpm": 2}}}},
    )
    async with Gates(redis_url, client, settings) as gates:
        for name in names:
            for n in range(2):
                await gates.first.take(f"{name}{n}", tenant="acme", **{field: name})
            waiting = await gates.first.queue(f"{name}2", tenant="acme", **{field: name})
            assert waiting.scope == f"{scope}:acme:{name}"


@pytest.mark.parametrize(
    ("section", "field", "named"),
    [("users", "user", "bob"), ("token_limits", "token", TOKEN), ("model_limits", "model", "m")],
)
async def test_a_named_members_limit_replaces_the_default(
    redis_url: str, client: Client, tmp_path: Path, section: str, field: str, named: str
) -> None:
    limits = {"default": {"rpm": 1}, named: {"rpm": 3}}
    acme = {"tokens": [f"sha256:{TOKEN:0<64}"], section: limits}
    settings = configured(tmp_path, tenants={"acme": acme})
    async with Gates(redis_url, client, settings) as gates:
        for n in range(3):
            await gates.first.take(f"r{n}", tenant="acme", **{field: named})
        await gates.first.queue("r3", tenant="acme", **{field: named})


async def test_the_tightest_of_all_limits_holds(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {
        "limits": {"rpm": 5},
        "users": {"default": {"rpm": 4}},
        "token_limits": {"default": {"rpm": 2}},
        "model_limits": {"m": {"rpm": 3}},
    }
    settings = configured(tmp_path, tenants={"acme": acme})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for n in range(2):
            await gate.take(f"r{n}", tenant="acme", user="bob", token="01234567")
        waiting = await gate.queue("r2", tenant="acme", user="bob", token="01234567")
        assert waiting.scope == "x:acme:01234567"
        await gate.take("r3", tenant="acme", user="bob")
        assert (await gate.queue("r4", tenant="acme", user="bob")).scope == "m:acme:m"


@pytest.mark.parametrize(
    "limits",
    [
        {"rpm": 0}, {"tpm": 0}, {"rpd": 0}, {"tpd": 0}, {"concurrency": 0},
        {"window": {"requests": 0, "seconds": 5}},
    ],
    ids=lambda limits: next(iter(limits)),
)  # fmt: skip
async def test_a_limit_of_nothing_is_no_access(
    redis_url: str, client: Client, tmp_path: Path, limits: Mapping[str, object]
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"users": {"eve": limits}}})
    async with Gates(redis_url, client, settings) as gates:
        refusal = await gates.first.refused("r1", tenant="acme", user="eve")
        assert (refusal.why, refusal.scope) == ("no_access", "u:acme:eve")
        assert refusal.reset_s < 0
        await gates.first.take("r2", tenant="acme", user="bob")


async def test_who_has_no_access_is_told_so_though_the_tenant_is_busy(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"concurrency": 1}, "users": {"eve": {"rpm": 0}}}
    async with Gates(redis_url, client, configured(tmp_path, tenants={"acme": acme})) as gates:
        await gates.first.take("r1", tenant="acme", user="bob")
        assert (await gates.first.refused("r2", tenant="acme", user="eve")).why == "no_access"


async def test_who_loses_access_while_held_comes_back_to_be_told(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpm": 1}}})
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.take("r1", tenant="acme")
        await gates.first.queue("r2", tenant="acme")
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpm": 0}}})
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.later(61)
        assert woken(client) == ["r2"]
        assert (await gates.first.refused("r2", tenant="acme")).why == "no_access"
        assert use(client, "t:acme")[LEASES] == 0


async def test_at_once_go_as_many_as_the_tenants_concurrency(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"concurrency": 2}}})
    async with Gates(redis_url, client, settings, 3) as gates:
        one, two, three = gates.gates
        first = await one.take("a", tenant="acme")
        second = await two.take("b", tenant="acme")
        for name in ("c", "d", "e"):
            assert (await three.queue(name, tenant="acme")).eta_s < 0
        await two.end(first)
        assert woken(client) == ["c"]
        await one.end(second, FAILED)
        assert woken(client) == ["c", "d"]
        third = await one.take("c", tenant="acme")
        await one.end(third, Settlement(ending="refused"))
        assert woken(client) == ["c", "d", "e"]
        assert use(client, "t:acme")[LEASES] == 2


async def test_concurrency_counts_who_waits_in_the_room(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"concurrency": 2}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"acme": acme})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first = await gate.take("a", tenant="acme")
        assert (await gate.queue("b", tenant="acme")).scope == ""
        assert (await gate.queue("c", tenant="acme")).scope == "t:acme"
        await gate.end(first)
        assert (granted(client), in_state(client, "waiting")) == (["b"], ["1.c"])


async def test_one_users_exhausted_limit_does_not_block_the_tenants_others(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"rpm": 100}, "users": {"default": {"rpm": 1}}}
    settings = configured(tmp_path, limits={"concurrency": 2}, tenants={"acme": acme})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first = await gate.take("bob1", tenant="acme", user="bob")
        await gate.queue("bob2", tenant="acme", user="bob")
        await gate.take("eve1", tenant="acme", user="eve")
        await gate.queue("joe1", tenant="acme", user="joe")
        await gate.end(first)
        assert woken(client) == ["joe1"]
        assert in_state(client, "held") == ["1.bob2"]


async def test_one_tenants_exhausted_limit_does_not_block_the_room(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants = {"acme": {"limits": {"rpm": 1}}, "zeta": {}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first = await gate.take("a1", tenant="acme")
        for n in range(2, 6):
            await gate.queue(f"a{n}", tenant="acme")
        await gate.queue("z1", tenant="zeta")
        await gate.queue("z2", tenant="zeta")
        assert await gate.serve(first, 2) == ["z1", "z2"]


async def test_a_user_held_at_the_tenants_limit_makes_way_when_its_own_is_spent(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"rpm": 2}, "users": {"bob": {"rpd": 1}}}
    async with Gates(redis_url, client, configured(tmp_path, tenants={"acme": acme})) as gates:
        gate = gates.first
        await gate.take("x1", tenant="acme", user="x")
        await gate.take("x2", tenant="acme", user="x")
        for name in ("bob1", "bob2"):
            assert (await gate.queue(name, tenant="acme", user="bob")).scope in (
                "t:acme",
                "u:acme:bob",
            )
        await gate.queue("eve1", tenant="acme", user="eve")
        await gate.later(61)
        assert sorted(woken(client)) == ["bob1", "eve1"]
        assert in_state(client, "held") == ["1.bob2"]


async def test_a_place_that_is_given_up_lets_the_next_of_the_tenant_on(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"concurrency": 1}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"acme": acme, "zeta": {}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("z1", tenant="zeta")
        await gate.queue("a1", tenant="acme")
        await gate.queue("a2", tenant="acme")
        await gate.admission.leave(gate.ask("a1", tenant="acme"))
        assert (in_state(client, "waiting"), in_state(client, "held")) == (["1.a2"], [])
