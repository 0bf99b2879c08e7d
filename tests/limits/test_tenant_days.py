"""Our limits on a day: from 00:00 UTC, for which requests wait over midnight."""

from pathlib import Path

import pytest

from pipeline.limits.tickets import Settlement
from tests.limits.rooms import (
    FAILED,
    Gates,
    configured,
    in_state,
    to_midnight,
    use,
    woken,
)
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

#: Numbers in what is used of a scope.
DAY_REQUESTS, DAY_TOKENS, RESERVED = 4, 5, 23


@pytest.mark.parametrize("limits", [{"rpd": 2}, {"tpd": 40}], ids=["rpd", "tpd"])
async def test_a_days_limit_is_whole_again_at_midnight_utc(
    redis_url: str, client: Client, tmp_path: Path, limits: dict[str, int]
) -> None:
    to_midnight(client, 7200)
    settings = configured(tmp_path, tenants={"acme": {"limits": limits}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for name in ("a", "b"):
            await gate.end(await gate.take(name, tenant="acme"))
        assert 7100 < (await gate.queue("c", tenant="acme")).eta_s < 7201
        await gate.queue("d", tenant="acme")
        await gate.queue("e", tenant="acme")
        await gate.later(7150)
        assert woken(client) == []
        await gate.later(51)
        assert woken(client) == ["c", "d"]
        assert in_state(client, "held") == ["1.e"]


async def test_who_waits_in_the_room_over_midnight_counts_for_the_day_it_goes_on(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 30)
    acme = {"limits": {"rpd": 2, "tpd": 100}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"acme": acme, "zeta": {}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("z", tenant="zeta")
        await gate.queue("a", tenant="acme")
        await gate.later(40)
        await gate.end(holder)
        assert woken(client) == ["a"]
        assert use(client, "t:acme")[DAY_REQUESTS] == 1
        assert use(client, "t:acme")[RESERVED] == 0
        await gate.end(
            await gate.take("a", tenant="acme"),
            Settlement(ending="answered", prompt_tokens=30, completion_tokens=30),
        )
        assert use(client, "t:acme")[DAY_TOKENS] == 60
        await gate.end(await gate.take("b", tenant="acme"))
        assert (await gate.queue("c", tenant="acme")).scope == "t:acme"


async def test_who_waited_over_midnight_and_fails_is_given_its_request_back(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 30)
    acme = {"limits": {"rpd": 2, "tpd": 100}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"acme": acme, "zeta": {}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("z", tenant="zeta")
        await gate.queue("a", tenant="acme")
        await gate.later(40)
        await gate.end(holder)
        await gate.end(await gate.take("a", tenant="acme"), FAILED)
        assert use(client, "t:acme")[DAY_REQUESTS] == 0
        assert use(client, "t:acme")[DAY_TOKENS] == 0


async def test_what_ends_after_midnight_is_not_taken_from_the_new_day(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 20)
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpd": 2, "tpd": 100}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        yesterdays = await gate.take("a", tenant="acme")
        await gate.later(25)
        await gate.take("b", tenant="acme")
        await gate.end(yesterdays, FAILED)
        assert use(client, "t:acme")[DAY_REQUESTS] == 1
        assert use(client, "t:acme")[DAY_TOKENS] == 20
