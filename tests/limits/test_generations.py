"""A call may be run twice: what it holds is kept by the later run, and given back once."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from pipeline.event import Event
from pipeline.limits.tickets import Settlement
from tests.limits.rooms import AGAIN, DONE, FAILED, Gates, advance, calls, configured, in_state, use
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio


def redelivered(event: Event) -> tuple[Event, Event]:
    """Give the event of a call as it is delivered again, and as its second run has it."""
    before = msgspec.structs.replace(event, attempts=event.attempts - 1, delivery=2)
    after = msgspec.structs.replace(before, attempts=event.attempts)
    return before, msgspec.structs.replace(after, generation=before.next_generation)


@pytest.mark.parametrize("end", [DONE, FAILED, AGAIN])
async def test_the_end_of_an_earlier_run_gives_nothing_back(
    redis_url: str, client: Client, tmp_path: Path, end: Settlement
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings, 2) as gates:
        first, second = gates.gates
        run = await first.take("a")
        delivered, again = redelivered(run)
        assert await second.admission.resume(delivered)
        await first.end(run, end)
        assert calls(client, "d:p/a") == 1
        await second.end(again)
        assert calls(client, "d:p/a") == 0


async def test_an_earlier_run_does_not_take_the_lease_up_again(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        run = await gate.take("a")
        delivered, _ = redelivered(run)
        assert await gate.admission.resume(delivered)
        first = msgspec.structs.replace(run, attempts=run.attempts - 1)
        assert not await gate.admission.resume(first)


@pytest.mark.parametrize("end", [DONE, FAILED, AGAIN])
async def test_a_lease_that_was_given_back_is_not_taken_up_again(
    redis_url: str, client: Client, tmp_path: Path, end: Settlement
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        run = await gate.take("a")
        await gate.end(run, end)
        assert not await gate.admission.resume(redelivered(run)[0])
        assert calls(client, "d:p/a") == 0


async def test_ending_often_gives_back_once(redis_url: str, client: Client, tmp_path: Path) -> None:
    settings = configured(tmp_path, limits={"concurrency": 3})
    async with Gates(redis_url, client, settings, 3) as gates:
        run = await gates.first.take("a")
        for name in "bc":
            await gates.first.take(name)
        await asyncio.gather(*(gate.end(run) for gate in gates.gates for _ in range(3)))
        assert calls(client, "d:p/a") == 2
        assert use(client, "d:p/a")[5] == 60


async def test_a_call_that_outlived_its_lease_gets_it_back_when_it_is_renewed(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        run = await gate.take("a")
        await gate.later(61)
        assert in_state(client, "lease") == []
        await gate.renew(run)
        assert in_state(client, "lease") == ["1.a"]
        await gate.wait("b")
        await gate.end(run)
        assert in_state(client, "lease") == ["1.b"]


async def test_a_lease_that_is_being_given_back_is_not_renewed(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        gate = gates.first
        run = await gate.take("a")
        settled = gate.admission.settle(run, DONE)
        await gate.renew(run)
        await settled
        assert in_state(client, "lease") == []


async def test_another_leg_is_another_ticket(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        for leg in (1, 2):
            await gates.first.take("a", leg=leg)
        assert in_state(client, "lease") == ["1.a", "2.a"]


async def test_what_ran_out_is_taken_by_the_minute_and_not_by_the_calls_at_once(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1, "rpd": 2})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("of the dead")
        advance(client, 61)
        await gate.take("a")
        assert use(client, "d:p/a")[4:6] == [2, 40], "its call may have been made"
        await gate.wait("b")


async def test_questions_of_one_turn_are_one_call_of_the_script(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        await gates.first.take("warm")
        client.config_resetstat()
        assert len(await gates.first.rush(*(f"r{n}" for n in range(50)))) == 50
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1


async def test_admission_goes_on_after_the_connection_was_cut(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as gates:
        await gates.first.take("a")
        client.client_kill_filter(_type="normal", skipme=True)
        await gates.first.take("b")
        assert calls(client, "d:p/a") == 2
