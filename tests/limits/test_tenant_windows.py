"""Our limits over time: exact sliding minutes and windows, and what is given back."""

from pathlib import Path

import pytest

from pipeline.limits.tickets import Settlement
from tests.limits.rooms import (
    AGAIN,
    DONE,
    FAILED,
    Gates,
    configured,
    due_s,
    granted,
    in_state,
    use,
    woken,
)
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

#: Numbers in what is used of a scope.
DAY_REQUESTS, DAY_TOKENS, WINDOW_TOKENS = 4, 5, 14

REFUSED = Settlement(ending="refused")


def spent(prompt: int, completion: int) -> Settlement:
    return Settlement(ending="answered", prompt_tokens=prompt, completion_tokens=completion)


async def test_a_tenant_may_use_its_whole_minute_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpm": 40}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        for n in range(40):
            await gate.end(await gate.take(f"r{n}", tenant="acme"))
        waiting = await gate.queue("r40", tenant="acme")
        assert waiting.place == 1
        assert 55 < waiting.eta_s <= 60.002
        assert 55 < due_s(client, "s t:acme") <= 60.002


async def test_the_minute_slides_with_each_request(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpm": 3}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme"))
        await gate.later(20)
        await gate.end(await gate.take("b", tenant="acme"))
        await gate.later(20)
        await gate.end(await gate.take("c", tenant="acme"))
        await gate.queue("d", tenant="acme")
        await gate.queue("e", tenant="acme")
        await gate.later(18)
        assert woken(client) == []
        await gate.later(3)
        assert woken(client) == ["d"]
        await gate.end(await gate.take("d", tenant="acme"))
        await gate.later(17)
        assert woken(client) == ["d"]
        await gate.later(3)
        assert woken(client) == ["d", "e"]


async def test_a_window_of_its_own_length_slides_too(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    limits = {"window": {"requests": 2, "seconds": 300}}
    async with Gates(
        redis_url, client, configured(tmp_path, tenants={"acme": {"limits": limits}})
    ) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme"))
        await gate.later(200)
        await gate.end(await gate.take("b", tenant="acme"))
        await gate.queue("c", tenant="acme")
        await gate.queue("d", tenant="acme")
        await gate.later(97)
        assert woken(client) == []
        await gate.later(4)
        assert woken(client) == ["c"]
        await gate.end(await gate.take("c", tenant="acme"))
        await gate.later(196)
        assert woken(client) == ["c"]
        await gate.later(6)
        assert woken(client) == ["c", "d"]


async def test_a_minute_and_a_window_hold_side_by_side(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    limits = {"rpm": 3, "window": {"requests": 1, "seconds": 10}}
    async with Gates(
        redis_url, client, configured(tmp_path, tenants={"acme": {"limits": limits}})
    ) as gates:
        gate = gates.first
        for n in range(3):
            await gate.take(f"r{n}", tenant="acme")
            await gate.later(11)
        # It is the minute of the first that stops the fourth.
        assert 24 < (await gate.queue("r3", tenant="acme")).eta_s <= 27.002


async def test_tokens_are_reserved_and_settled_by_what_was_used(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"tpm": 100}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        taken = [await gate.take(f"r{n}", tenant="acme") for n in range(5)]
        await gate.queue("r5", tenant="acme")
        await gate.end(taken[0], spent(5, 5))
        assert woken(client) == []
        await gate.end(taken[1], spent(5, 5))
        assert woken(client) == ["r5"]
        assert use(client, "t:acme")[WINDOW_TOKENS] == 100
        await gate.end(taken[2], spent(30, 40))
        assert use(client, "t:acme")[WINDOW_TOKENS] == 150
        assert use(client, "t:acme")[DAY_TOKENS] == 150


async def test_tokens_of_which_nobody_tells_count_as_reserved(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"tpm": 40}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme"), Settlement(ending="answered"))
        await gate.take("b", tenant="acme")
        await gate.queue("c", tenant="acme")


async def test_tokens_come_back_a_minute_after_the_grant(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"tpm": 50}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme"))
        await gate.later(30)
        await gate.end(await gate.take("b", tenant="acme"))
        await gate.queue("large", tenant="acme", output_tokens=40)
        await gate.later(57)
        assert woken(client) == []
        await gate.later(4)
        assert woken(client) == ["large"]


async def test_a_small_request_does_not_overtake_a_large_one_that_is_held(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"tpm": 60}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme"))
        await gate.queue("large", tenant="acme", output_tokens=40)
        small = await gate.queue("small", tenant="acme", output_tokens=1)
        assert small.place == 2
        assert 50 < small.eta_s < 61
        await gate.later(61)
        assert woken(client) == ["large"]


async def test_a_large_request_that_leaves_lets_the_small_one_behind_it_go(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"tpm": 60}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme"))
        await gate.queue("large", tenant="acme", output_tokens=40)
        await gate.queue("small", tenant="acme", output_tokens=1)
        await gate.admission.leave(gate.ask("large", tenant="acme"))
        assert woken(client) == ["small"]


@pytest.mark.parametrize("limits", [{"rpm": 1}, {"tpm": 20}, {"rpd": 1}, {"tpd": 20}])
async def test_a_failed_request_costs_nothing(
    redis_url: str, client: Client, tmp_path: Path, limits: dict[str, int]
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": limits}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first = await gate.take("a", tenant="acme")
        await gate.queue("b", tenant="acme")
        await gate.end(first, FAILED)
        assert woken(client) == ["b"]
        await gate.end(first, FAILED)
        assert (await gate.queue("c", tenant="acme")).scope == "t:acme"


@pytest.mark.parametrize(("end", "tokens"), [(REFUSED, 0), (DONE, 20)], ids=["refused", "answered"])
async def test_a_request_that_was_the_clients_fault_counts(
    redis_url: str, client: Client, tmp_path: Path, end: Settlement, tokens: int
) -> None:
    limits = {"rpm": 1, "rpd": 5, "tpd": 100}
    settings = configured(tmp_path, tenants={"acme": {"limits": limits}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a", tenant="acme"), end)
        await gate.queue("b", tenant="acme")
        assert use(client, "t:acme")[DAY_REQUESTS] == 1
        assert use(client, "t:acme")[DAY_TOKENS] == tokens


async def test_asking_again_for_another_candidate_costs_no_second_request(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants={"acme": {"limits": {"rpm": 2, "tpm": 40}}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first = await gate.take("a", tenant="acme")
        for _ in range(3):
            await gate.end(first, AGAIN)
            first = await gate.take(first)
        await gate.take("b", tenant="acme")
        await gate.queue("c", tenant="acme")


async def test_a_reservation_counts_until_a_minute_after_its_grant(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"rpm": 1, "tpm": 100}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"acme": acme, "zeta": {}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("z", tenant="zeta")
        await gate.queue("a", tenant="acme")
        assert (await gate.queue("b", tenant="acme")).eta_s < 0
        for _ in range(3):
            await gate.later(40)
            await gate.renew(holder)
        assert in_state(client, "held") == ["1.b"]
        await gate.end(holder)
        await gate.end(await gate.take("a", tenant="acme"))
        assert 55 < due_s(client, "s t:acme") < 60.01
        assert use(client, "t:acme")[WINDOW_TOKENS] == 20
        await gate.later(58)
        assert woken(client) == ["a"]
        await gate.later(3)
        assert woken(client) == ["a", "b"]


async def test_a_call_that_is_long_does_not_keep_who_waits_for_its_minute(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    acme = {"limits": {"rpm": 1}}
    settings = configured(tmp_path, limits={"concurrency": 2}, tenants={"acme": acme, "zeta": {}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holders = [await gate.take(f"z{n}", tenant="zeta") for n in range(2)]
        await gate.queue("a", tenant="acme")
        await gate.queue("b", tenant="acme")
        for holder in holders:
            await gate.end(holder)
        long = await gate.take("a", tenant="acme")
        await gate.later(40)
        await gate.renew(long)
        await gate.later(21)
        assert granted(client) == ["b", "a"]


async def test_a_changed_limit_keeps_what_was_counted(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async def start(rpm: int) -> Gates:
        return Gates(
            redis_url, client, configured(tmp_path, tenants={"acme": {"limits": {"rpm": rpm}}})
        )

    async with await start(2) as gates:
        for name in ("a", "b"):
            await gates.first.end(await gates.first.take(name, tenant="acme"))
        await gates.first.queue("c", tenant="acme")
    async with await start(4) as gates:
        await gates.first.admission.sweep()
        assert woken(client) == ["c"]
        await gates.first.end(await gates.first.take("c", tenant="acme"))
        await gates.first.take("d", tenant="acme")
        await gates.first.queue("e", tenant="acme")
    async with await start(3) as gates:
        await gates.first.later(61)
        assert woken(client) == ["c", "e"]
