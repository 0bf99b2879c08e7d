"""Deployments that fail are cut off at once for all processes, and tried one call at a time."""

from pathlib import Path

import pytest

from pipeline.event import Event
from pipeline.limits import refusals
from pipeline.limits.tickets import Broken, Look, Settlement
from pipeline.settings.load import BreakerSettings, ProviderSettings, Settings
from tests.limits.rooms import DONE, Gate, Gates, configured, granted, use, woken
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

#: Three failures in a row cut off for 4 s, at most for 10 s.
BROKEN = Settlement(ending="failed", health=Broken(failures=3, open_ms=4000, max_open_ms=10_000))
ALIVE = Settlement(ending="answered", health="alive")
UNKNOWN = Settlement(ending="refused")


def two_in_order(directory: Path) -> Settings:
    """Configure the model `m` with the deployments `a`, then `b`; and `lone` with `c` alone."""
    listed = [{"provider": "p", "model": one} for one in "ab"]
    lone = [{"provider": "p", "model": "c"}]
    return configured(
        directory, models={"m": {"deployments": listed}, "lone": {"deployments": lone}}
    )


def name(event: Event) -> str:
    """Name the deployment of a leased event."""
    assert event.lease
    return event.lease.deployment.removeprefix("p/")


async def fail(gate: Gate, *requests: str, model: str = "m") -> None:
    """Make calls that fail."""
    for request in requests:
        await gate.end(await gate.take(request, model=model), BROKEN)


async def test_so_many_failures_in_a_row_cut_off_a_deployment_for_all_processes(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path), 2) as gates:
        await fail(gates.first, "f1", "f2")
        assert name(await gates.gates[1].take("still")) == "a"
        await fail(gates.gates[1], "f3")
        assert name(await gates.first.take("r1")) == "b"
        assert name(await gates.gates[1].take("r2")) == "b"


async def test_an_answer_in_between_begins_the_count_anew(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        await fail(gates.first, "f1", "f2")
        await gates.first.end(await gates.first.take("fine"), ALIVE)
        await fail(gates.first, "f3", "f4")
        assert name(await gates.first.take("r1")) == "a"


async def test_one_call_at_a_time_tries_it_again_and_its_answer_lets_all_back(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3")
        await gate.later(3.9)
        assert name(await gate.take("early")) == "b"
        await gate.later(0.2)
        trial = await gate.take("trial")
        assert name(trial) == "a"
        assert name(await gate.take("other")) == "b"
        await gate.end(trial, ALIVE)
        assert [name(await gate.take(f"r{n}")) for n in range(3)] == ["a", "a", "a"]


async def test_a_trial_that_fails_cuts_it_off_for_twice_as_long_up_to_the_most(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3")
        for turn, open_s in enumerate((4, 8, 10, 10)):
            await gate.later(open_s - 0.1)
            assert name(await gate.take(f"early{turn}")) == "b"
            await gate.later(0.2)
            await fail(gate, f"trial{turn}")


async def test_a_trial_that_says_nothing_makes_way_for_another(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3")
        await gate.later(4.1)
        await gate.end(await gate.take("cancelled"), UNKNOWN)
        assert name(await gate.take("next")) == "a"


async def test_a_trial_that_is_never_heard_of_makes_way_after_a_minute(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3")
        await gate.later(4.1)
        assert name(await gate.take("lost")) == "a"
        await gate.later(59)
        assert name(await gate.take("early")) == "b"
        await gate.later(2)
        assert name(await gate.take("next")) == "a"


async def test_late_failures_of_calls_under_way_do_not_cut_it_off_for_longer(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        late = [await gate.take(f"late{n}") for n in range(5)]
        await fail(gate, "f1", "f2", "f3")
        await gate.later(3)
        for event in late:
            await gate.end(event, BROKEN)
        await gate.later(1.1)
        assert name(await gate.take("trial")) == "a"


async def test_who_has_no_other_waits_until_it_may_be_tried(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3", model="lone")
        await gate.wait("r1", "r2", "r3", model="lone")
        await gate.later(4.1)
        assert granted(client) == ["r1"]
        await gate.end(await gate.take("r1", model="lone"), ALIVE)
        assert set(woken(client)) == {"r1", "r2", "r3"}


async def test_after_a_trial_failed_nobody_waits_for_it(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3", model="lone")
        await gate.later(4.1)
        await fail(gate, "trial", model="lone")
        refused = await gate.refused("late", model="lone")
        assert refused.why == "down"
        assert refused.reset_s == pytest.approx(8, abs=0.5)
        failure = refusals.failure(refused, gate.ask("late", model="lone"))
        assert (failure.status, failure.code) == (503, "provider_exhausted")


async def test_who_waits_is_told_when_a_trial_fails(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3", model="lone")
        await gate.wait("first", model="lone")
        await gate.later(4.1)
        trial = await gate.take("first", model="lone")
        await gate.wait("other", model="lone")
        await gate.end(trial, BROKEN)
        assert "other" in woken(client)
        assert (await gate.refused("other", model="lone")).why == "down"


async def test_while_a_later_trial_is_under_way_others_wait_for_it(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3", model="lone")
        await gate.later(4.1)
        await fail(gate, "trial", model="lone")
        await gate.later(8.1)
        again = await gate.take("again", model="lone")
        await gate.queue("other", model="lone")
        await gate.end(again, ALIVE)
        assert "other" in granted(client)


async def test_none_is_cut_off_where_that_is_switched_off(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    never = Settlement(ending="failed", health=Broken(failures=0, open_ms=4000, max_open_ms=4000))
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        for n in range(20):
            await gates.first.end(await gates.first.take(f"f{n}"), never)
        assert name(await gates.first.take("r")) == "a"
        await gates.first.end(await gates.first.take("r2"), DONE)


def looks(gate: Gate, provider: ProviderSettings, *, is_alive: bool) -> list[Look]:
    """Give what a look at the provider shows of all deployments."""
    return [Look(one, provider, is_alive) for one in gate.catalog.deployments()]


@pytest.fixture
def provider() -> ProviderSettings:
    breaker = BreakerSettings(failures=3, open_s=4, max_open_s=10)
    return ProviderSettings(kind="simulated", health_s=2, breaker=breaker)


async def test_a_look_that_finds_it_alive_lets_one_call_try_it_at_once(
    redis_url: str, client: Client, tmp_path: Path, provider: ProviderSettings
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3")
        await gate.admission.looked(looks(gate, provider, is_alive=True))
        assert name(await gate.take("trial")) == "a"
        assert name(await gate.take("other")) == "b"


async def test_no_request_tries_it_while_looks_find_nobody(
    redis_url: str, client: Client, tmp_path: Path, provider: ProviderSettings
) -> None:
    settings = two_in_order(tmp_path)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await fail(gate, "f1", "f2", "f3", model="lone")
        for _ in range(4):
            await gate.admission.looked(looks(gate, provider, is_alive=False))
            await gate.later(2)
        await gate.wait("r1", model="lone")
        assert granted(client) == []
        await gate.admission.looked(looks(gate, provider, is_alive=True))
        assert granted(client) == ["r1"]


async def test_looks_that_find_nobody_cut_it_off_before_requests_do(
    redis_url: str, client: Client, tmp_path: Path, provider: ProviderSettings
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        gate = gates.first
        for _ in range(3):
            await gate.admission.looked(looks(gate, provider, is_alive=False)[:1])
        assert name(await gate.take("r")) == "b"


async def test_a_look_at_what_is_well_leaves_nothing_behind(
    redis_url: str, client: Client, tmp_path: Path, provider: ProviderSettings
) -> None:
    async with Gates(redis_url, client, two_in_order(tmp_path)) as gates:
        await gates.first.admission.looked(looks(gates.first, provider, is_alive=True))
        assert use(client, "d:p/a") == []
