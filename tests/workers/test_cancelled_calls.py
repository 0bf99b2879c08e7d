"""Cancelled calls: what the provider may have counted stays counted, all else is given back."""

import asyncio

import msgspec
import pytest

from pipeline.errors import Failure
from pipeline.outcome import Die, Outcome
from pipeline.settings.load import RetrySettings
from tests.limits.rooms import tickets, use
from tests.providers.simulated_process import SimulatedProcess
from tests.streams import rig
from tests.streams.rig import NAMES, Client
from tests.workers.bench import Bench
from workers.call import call

pytestmark = pytest.mark.anyio

#: Places in what is used of a scope, by `ground.lua`.
_DAY_REQUESTS, _DAY_TOKENS = 4, 5


def died(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Die)
    return outcome.failure


async def used_today(here: Bench, client: Client, model: str) -> tuple[float, float]:
    """Tell the requests and tokens that a deployment has used, when nothing is held any more."""
    await here.admission.settled()
    assert tickets(client) == {}
    used = use(client, f"d:sim/{model}")
    return used[_DAY_REQUESTS], used[_DAY_TOKENS]


async def cancelled(here: Bench, client: Client) -> None:
    """Cancel the request and let the process hear of it, as a scan would."""
    client.hset(NAMES.record("r1"), "cancel", "client")
    await here.means.cancels.notice(b"1")


async def test_a_whole_call_that_is_cancelled_stays_counted_with_its_prompt(
    here: Bench, client: Client, provider: SimulatedProcess
) -> None:
    event = await here.accepted("long", prompt_tokens=17)
    before = provider.counts()
    running = asyncio.create_task(call(event, means=here.means))
    await rig.until(lambda: provider.counts() != before)
    await cancelled(here, client)
    failure = died(await asyncio.wait_for(running, 3))
    assert (failure.status, failure.code, failure.cause) == (499, "cancelled", "cancelled")
    assert await used_today(here, client, "nine:tokens=2000,tps=100") == (1, 17)


async def test_a_stream_that_is_cancelled_counts_what_has_come_of_it(
    here: Bench, client: Client
) -> None:
    event = await here.accepted("long", stream=True, prompt_tokens=17)
    running = asyncio.create_task(call(event, means=here.means))
    await rig.until(lambda: client.xlen(NAMES.reply("r1")) > 2)
    await cancelled(here, client)
    outcome = await asyncio.wait_for(running, 3)
    assert died(outcome).cause == "cancelled"
    requests, tokens = await used_today(here, client, "nine:tokens=2000,tps=100")
    assert requests == 1
    assert tokens == 17 + outcome.event.deltas > 19


async def test_what_was_cancelled_before_its_call_counts_nothing(
    here: Bench, client: Client
) -> None:
    event = await here.accepted("plain", prompt_tokens=17)
    client.hset(NAMES.record("r1"), "cancel", "client")
    assert died(await call(event, means=here.means)).cause == "cancelled"
    assert await used_today(here, client, "one:tokens=3") == (0, 0)


async def test_who_is_cancelled_in_the_pause_before_a_quick_retry_holds_nothing(
    here: Bench, client: Client, provider: SimulatedProcess
) -> None:
    retry = RetrySettings(quick=1, backoff_s=20, max_backoff_s=20)
    means = msgspec.structs.replace(here.means, retry=retry)
    event = await here.accepted("broken")
    running = asyncio.create_task(call(event, means=means))

    def pauses() -> bool:
        states = [ticket["state"] for ticket in tickets(client).values()]
        return states == ["between"] and "r1" in here.means.cancels._calls

    await rig.until(pauses)
    await cancelled(here, client)
    assert died(await asyncio.wait_for(running, 3)).cause == "cancelled"
    await here.admission.settled()
    assert tickets(client) == {}
