"""Keys of a provider: in rotation, at rest after a refusal, dead until somebody revives them."""

from pathlib import Path

import msgspec
import pytest

from pipeline.event import Event
from pipeline.limits import refusals
from pipeline.limits.tickets import Settlement
from pipeline.settings.load import Settings
from tests.limits.rooms import (
    DONE,
    Gates,
    advance,
    calls,
    configured,
    deployment,
    provider,
    use,
    woken,
)
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

DEAD = Settlement(ending="again", dead="401 invalid_api_key")


def limited(seconds: float, *, all_keys: bool = False) -> Settlement:
    """Give the end of a call that was refused for its rate, with a hint."""
    return Settlement(ending="again", rest_s=seconds, rests_all=all_keys, limited="requests")


def keyed(directory: Path, count: int = 2, **sections: object) -> Settings:
    """Configure a provider of so many keys, which have limits of their own."""
    settings = {"limits_per": "key", **sections}
    keys = [f"sk-secret-{n}" for n in range(count)]
    return configured(directory, providers={"p": provider(*keys, **settings)})


def key(event: Event) -> str:
    """Name the key of a leased event."""
    assert event.lease
    return event.lease.key


async def test_keys_go_round(redis_url: str, client: Client, tmp_path: Path) -> None:
    async with Gates(redis_url, client, keyed(tmp_path, 3), 2) as gates:
        got = [key(await gates.gates[n % 2].take(f"r{n}")) for n in range(7)]
    assert got == [*got[:3], *got[:3], got[0]]
    assert len(set(got)) == 3
    assert "secret" not in "".join(got)


async def test_a_providers_limits_hold_for_each_key(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = keyed(tmp_path, limits={"concurrency": 2})
    async with Gates(redis_url, client, settings) as gates:
        got = [key(event) for event in await gates.first.rush(*"abcdef")]
    assert len(got) == 4
    assert {got.count(one) for one in got} == {2}


async def test_an_accounts_limits_hold_over_all_its_keys(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = keyed(tmp_path, limits={"concurrency": 2}, limits_per="account")
    async with Gates(redis_url, client, settings) as gates:
        got = [key(event) for event in await gates.first.rush(*"abcdef")]
    assert len(set(got)) == 2


@pytest.mark.parametrize(("of_key", "of_deployment", "in_all"), [(2, 3, 3), (1, 3, 2), (5, 1, 1)])
async def test_a_deployments_limits_hold_over_all_keys_and_the_tighter_wins(
    redis_url: str, client: Client, tmp_path: Path, *, of_key: int, of_deployment: int, in_all: int
) -> None:
    settings = configured(
        tmp_path,
        limits={"concurrency": of_deployment},
        providers={"p": provider("k1", "k2", limits_per="key", limits={"concurrency": of_key})},
    )
    async with Gates(redis_url, client, settings) as gates:
        assert len(await gates.first.rush(*"abcdef")) == in_all


async def test_a_keys_limits_hold_for_each_model_apart(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(
        tmp_path,
        providers={"p": provider("k1", limits={"concurrency": 1})},
        models={
            "m": {"deployments": [deployment("a")]},
            "n": {"deployments": [deployment("b")]},
        },
    )
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.take("a")
        await gates.first.take("b", model="n")
        await gates.first.wait("c")


async def test_a_refused_key_rests_and_another_is_taken_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, keyed(tmp_path)) as gates:
        gate = gates.first
        refused = await gate.take("a")
        await gate.end(refused, limited(30))
        others = {key(await gate.take(name)) for name in ("a", "b", "c")}
        assert len(others) == 1
        assert key(refused) not in others
        advance(client, 31)
        assert key(refused) in {key(await gate.take(name)) for name in ("d", "e")}


async def test_when_all_keys_rest_requests_wait_for_the_first(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, keyed(tmp_path)) as gates:
        gate = gates.first
        held = [await gate.take(name) for name in ("a", "b")]
        await gate.end(held[0], limited(30))
        await gate.end(held[1], limited(10))
        assert 9 < await gate.eta_s("c") <= 10
        await gate.wait("c")
        await gate.later(11)
        assert woken(client) == ["c"]
        assert key(await gate.take("c")) == key(held[1])


async def test_a_shorter_hint_does_not_end_a_longer_rest(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, keyed(tmp_path, 1)) as gates:
        gate = gates.first
        held = [await gate.take(name) for name in ("a", "b", "c")]
        for event, seconds in zip(held, [10, 30, 5], strict=True):
            await gate.end(event, limited(seconds))
        assert 29 < await gate.eta_s("d") <= 30


@pytest.mark.parametrize("limits_per", ["key", "account"])
async def test_an_account_rests_as_a_whole(
    redis_url: str, client: Client, tmp_path: Path, limits_per: str
) -> None:
    async with Gates(redis_url, client, keyed(tmp_path, limits_per=limits_per)) as gates:
        gate = gates.first
        await gate.end(await gate.take("a"), limited(30, all_keys=limits_per == "key"))
        assert 29 < await gate.eta_s("b") <= 30


async def test_a_dead_key_is_not_used_and_its_death_is_known_to_all(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, keyed(tmp_path, 3), 2) as gates:
        first, second = gates.gates
        dead = await first.take("a")
        await first.end(dead, DEAD)
        got = {key(await second.take(name)) for name in "abcde"}
        assert len(got) == 2
        assert key(dead) not in got


async def test_when_all_keys_are_dead_requests_are_refused_and_those_who_wait_are_told(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, keyed(tmp_path, limits={"concurrency": 1})) as gates:
        gate = gates.first
        held = [await gate.take(name) for name in ("a", "b")]
        await gate.wait("waiting")
        await gate.end(held[0], DEAD)
        assert woken(client) == []
        await gate.end(held[1], DEAD)
        assert woken(client) == ["waiting"]
        for name in ("waiting", "a", "new"):
            refusal = await gate.refused(name)
            assert refusal.why == "dead"
        assert refusals.failure(refusal, gate.ask("new")).code == "upstream_credentials_exhausted"


async def test_another_provider_serves_for_one_whose_keys_are_dead(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(
        tmp_path,
        providers={"p": provider("k1"), "q": provider("k2")},
        models={"m": {"deployments": [deployment("a"), {**deployment("a"), "provider": "q"}]}},
    )
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.end(await gate.take("a"), DEAD)
        got = await gate.take("a")
        assert got.lease
        assert got.lease.deployment == "q/a"


async def test_a_dead_key_is_tried_again_by_one_request_and_lives_if_that_is_answered(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(
        tmp_path, gate={"probe_s": 50}, providers={"p": provider("k1", "k2", limits_per="key")}
    )
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        dead = await gate.take("a")
        await gate.end(dead, DEAD)
        advance(client, 49)
        assert key(dead) not in {key(await gate.take(name)) for name in "bcde"}
        advance(client, 2)
        got = await gate.rush(*"fghi")
        [probe] = [event for event in got if key(event) == key(dead)]
        await gate.end(probe, DEAD)
        advance(client, 49)
        assert key(dead) not in {key(event) for event in await gate.rush(*"jklm")}
        advance(client, 2)
        [probe] = [event for event in await gate.rush(*"nopq") if key(event) == key(dead)]
        await gate.end(probe, DONE)
        assert len([event for event in await gate.rush(*"rstu") if key(event) == key(dead)]) == 2


async def test_an_operator_revives_a_key(redis_url: str, client: Client, tmp_path: Path) -> None:
    async with Gates(redis_url, client, keyed(tmp_path, 1)) as gates:
        gate = gates.first
        dead = await gate.take("a")
        await gate.end(dead, DEAD)
        since, why, _ = msgspec.msgpack.decode(client.hget(f"{NAMES.limits}:dead", key(dead)))
        assert why == "401 invalid_api_key"
        assert since > 1e12
        await gate.refused("b")
        await gate.admission.revive([key(dead)])
        assert key(await gate.take("c")) == key(dead)


async def test_the_calls_of_a_key_are_counted_until_they_end(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, keyed(tmp_path)) as gates:
        gate = gates.first
        held = [await gate.take(name) for name in "abc"]
        scope = f"k:{key(held[0])}/a"
        assert calls(client, scope) == 2
        for event in held:
            await gate.end(event)
        assert calls(client, scope) == calls(client, "d:p/a") == 0
        assert use(client, scope)[4] == 2
