"""Limits that providers show: told in their answers, or found by their refusals."""

from pathlib import Path

import pytest

from pipeline.limits.seen import Limited, Seen
from pipeline.limits.tickets import Settlement
from tests.limits.rooms import DONE, Gate, Gates, advance, configured, use
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

#: Where `ground.lua` keeps what was found, by dimension.
FOUND = {"requests": 8, "tokens": 9, "concurrency": 10}
ACCOUNT = "a:p/a"


def told(*seen: Seen, age_s: float = 0.0) -> Settlement:
    """Give the end of a call whose answer told of limits."""
    return Settlement(
        ending="answered", prompt_tokens=10, completion_tokens=10, seen=seen, age_s=age_s
    )


def refused(limited: Limited, *seen: Seen) -> Settlement:
    """Give the end of a call that a limit refused, without a hint when to come again."""
    return Settlement(ending="again", limited=limited, seen=seen)


def found(client: Client, dimension: str) -> float:
    """Read a found limit."""
    return use(client, ACCOUNT)[FOUND[dimension]]


async def ended(gate: Gate, name: str, end: Settlement) -> None:
    """Make a call that ends so."""
    await gate.end(await gate.take(name), end)


async def test_a_told_limit_holds_where_none_is_configured(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        await ended(gate, "a", told(Seen("rpm", 180, 170, 1000), Seen("tpm", 7200, 7000, 1000)))
        assert len(await gate.rush(*"bcdefgh")) == 3, "a second's worth"
        assert len(await gate.rush("large", prompt_tokens=7200)) == 0
        assert (await gate.refused("heavy", prompt_tokens=7200)).why == "heavy"


async def test_a_told_limit_above_the_configured_one_changes_nothing(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 2, "burst": 2})
    async with Gates(redis_url, client, settings) as gates:
        await ended(gates.first, "a", told(Seen("rpm", 6000, 5999, 10)))
        assert len(await gates.first.rush(*"bcdefgh")) == 1


async def test_nothing_goes_while_the_provider_says_that_nothing_is_left(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        await ended(gate, "a", told(Seen("rpm", 6, 0, 60_000)))
        assert 9 < await gate.eta_s("b") <= 10, "at six a minute the next one comes in ten seconds"
        advance(client, 11)
        held = await gate.take("c")
        advance(client, 4)
        await gate.end(held, told(Seen("rpm", 6, 0, 60_000), age_s=4))
        assert 5 < await gate.eta_s("d") <= 6, "it said so four seconds ago"


async def test_what_is_left_of_tokens_corrects_ours(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        await ended(gate, "a", told(Seen("tpm", 600, 0, 60_000)))
        assert 0.5 < await gate.eta_s("b") <= 1
        advance(client, 60)
        await ended(gate, "c", told(Seen("tpm", 600, 590, 60_000)))
        assert 1 < await gate.eta_s("d") <= 2, "much is left: ours is more careful"


@pytest.mark.parametrize(("dimension", "limit"), [("rpd", 1000), ("tpd", 0), ("rpm", 0)])
async def test_a_spent_allowance_rests_until_its_reset(
    redis_url: str, client: Client, tmp_path: Path, dimension: str, limit: int
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        seen = Seen(dimension, limit, 0, 7_200_000)  # type: ignore[arg-type]
        await ended(gate, "a", told(seen, age_s=60))
        assert 7_130 < await gate.eta_s("b") <= 7_140


async def test_an_unknown_rate_is_found_a_tenth_below_what_was_refused(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        held = await gate.rush(*(f"r{n}" for n in range(40)))
        assert len(held) == 40
        await gate.end(held[0], refused("requests"))
        assert found(client, "requests") == 36
        await gate.end(held[1], refused("requests"))
        assert found(client, "requests") == 36, "those refused in one second are one refusal"
        advance(client, 2)
        await gate.end(held[2], refused("requests"))
        assert found(client, "requests") == 32
        advance(client, 120)
        assert len(await gate.rush(*(f"s{n}" for n in range(40)))) == 1, "paced from now on"


async def test_a_found_limit_goes_up_while_nothing_is_refused(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        held = await gate.rush(*(f"r{n}" for n in range(40)))
        await gate.end(held[0], refused("requests"))
        for n in range(30):
            advance(client, 5)
            await ended(gate, f"s{n}", DONE)
        assert 49 <= found(client, "requests") <= 51, "one more every ten seconds"


async def test_unknown_concurrency_is_found(redis_url: str, client: Client, tmp_path: Path) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        held = await gate.rush(*(f"r{n}" for n in range(20)))
        await gate.end(held[0], refused("concurrency"))
        assert found(client, "concurrency") == 18
        for event in held[1:4]:
            await gate.end(event)
        assert len(await gate.rush(*"abcdef")) == 2


async def test_a_refusal_with_requests_left_speaks_of_those_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        held = await gate.rush(*(f"r{n}" for n in range(20)))
        await gate.end(held[0], refused("requests", Seen("rpm", 600, 300, 1000)))
        assert found(client, "concurrency") == 18
        assert found(client, "requests") == 600


async def test_what_the_provider_tells_is_not_searched_for(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        held = await gate.rush(*(f"r{n}" for n in range(20)))
        await gate.end(held[0], refused("concurrency"))
        for event in held[1:]:
            await gate.end(event)
        for n in range(8):
            advance(client, 11)
            await ended(gate, f"s{n}", told(Seen("rpm", 600, 300, 1000)))
            assert found(client, "requests") == 600
            assert found(client, "concurrency") == 19 + n


async def test_of_a_few_refused_requests_no_rate_is_told(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        await ended(gate, "a", refused("requests"))
        await ended(gate, "b", refused("tokens"))
        assert [found(client, one) for one in ("requests", "tokens")] == [-1, -1]


async def test_a_found_limit_of_tokens_lets_large_requests_go_nevertheless(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        await gate.rush(*"abcdefghi", prompt_tokens=1, output_tokens=1)
        large = await gate.take("large", output_tokens=990)
        advance(client, 2)
        await gate.end(large, refused("tokens"))
        assert found(client, "tokens") == 1000, "below the request itself it could never go"
        await gate.later(61)
        await gate.end(await gate.take("large again", output_tokens=990))
        await gate.later(61)
        await gate.end(await gate.take("larger still", output_tokens=1990))
        assert found(client, "tokens") == 1020, "and up again with each answer"


async def test_the_rate_of_tokens_that_was_refused_is_paced_from_now_on(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        held = await gate.rush(*(f"r{n}" for n in range(50)))
        await gate.end(held[0], refused("tokens"))
        assert found(client, "tokens") == 900
        for event in held[1:]:
            await gate.end(event)
        advance(client, 120)
        assert len(await gate.rush(*"abcdef")) == 1


async def test_each_key_learns_for_itself_where_limits_are_the_keys(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    providers = {
        "p": {
            "kind": "simulated", "base_url": "http://127.0.0.1:1/v1", "keys": ["k1", "k2"],
            "limits_per": "key",
        }
    }  # fmt: skip
    async with Gates(redis_url, client, configured(tmp_path, providers=providers)) as gates:
        gate = gates.first
        await ended(gate, "a", told(Seen("rpm", 1, 0, 60_000)))
        got = await gate.rush(*"bcde")
        assert len({event.lease and event.lease.key for event in got}) == 1
        assert len(got) == 4
