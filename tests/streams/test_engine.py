"""The engine: from entries through hops to their outcomes, and how it begins and ends."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from itertools import chain, pairwise
from typing import Any

import pytest

from pipeline import event as events
from pipeline.event import Event
from pipeline.outcome import Finish, Forward, Outcome
from pipeline.streams.engine import Hop
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.rig import NAMES, Client, crew, ids, last_event, make_event

pytestmark = pytest.mark.anyio

ORDER = ("route", "gate", "call", "respond")


def onward(to: str) -> Hop:
    async def hop(event: Event) -> Outcome:
        return Forward(event, to)

    return hop


async def finish(event: Event) -> Outcome:
    return Finish(event)


def hops(**others: Callable[[Event], Coroutine[Any, Any, Outcome]]) -> Mapping[str, Hop]:
    """Make the four hops, each sending on; name those that do otherwise."""
    plain = {hop: onward(to) for hop, to in pairwise(ORDER)}
    return {**plain, "respond": finish, **others}


def write(client: Client, *request_ids: str, lane: str = "default", **changes: object) -> None:
    for request_id in request_ids:
        payload = events.encode(make_event(request_id, **changes))
        client.xadd(f"{NAMES.prefix}:requests:{lane}", {"event": payload})


def everything_is_empty(client: Client) -> bool:
    return all(
        client.xlen(NAMES.hop(hop)) == 0 and client.xpending(NAMES.hop(hop), hop)["pending"] == 0
        for hop in ORDER[1:]
    )


async def test_a_request_goes_through_all_hops_to_done(redis_url: str, client: Client) -> None:
    async with crew(redis_url, hops()):
        write(client, "r1")
        await rig.until(lambda: client.xlen(NAMES.done))
    done = last_event(client, "done")
    assert [line.hop for line in done.journal] == list(ORDER)
    assert done.status == "completed"
    starts = [line.start for line in done.journal]
    assert starts == sorted(starts)
    assert everything_is_empty(client)


async def test_many_requests_of_all_lanes_end_once_each(redis_url: str, client: Client) -> None:
    names = {lane: [f"{lane}{n}" for n in range(200)] for lane in ("high", "default", "low")}
    async with crew(redis_url, hops(), calls=50) as here:
        for lane, request_ids in names.items():
            write(client, *request_ids, lane=lane)
        await rig.until(lambda: client.xlen(NAMES.done) == 600, timeout_s=10)
        await rig.until(lambda: len(here.engine.holdings) == 0)
    assert sorted(ids(client, "done")) == sorted(chain(*names.values()))
    assert everything_is_empty(client)


async def test_a_hop_that_decides_runs_without_a_task(redis_url: str, client: Client) -> None:
    tasks: list[str | None] = []

    async def decide(event: Event) -> Outcome:
        task = asyncio.current_task()
        tasks.append(task.get_name() if task else None)
        return Forward(event, "call")

    async with crew(redis_url, hops(gate=decide)):
        write(client, "r1")
        await rig.until(lambda: client.xlen(NAMES.done))
    # It ran inside whoever brought its entry.
    assert tasks == ["carrier"]


async def test_a_hop_that_waits_does_not_hold_up_the_others(redis_url: str, client: Client) -> None:
    go = asyncio.Event()

    async def wait(event: Event) -> Outcome:
        if event.id == "slow":
            await go.wait()
        return Forward(event, "call")

    async with crew(redis_url, hops(gate=wait)):
        write(client, "slow", "quick")
        await rig.until(lambda: ids(client, "done") == ["quick"])
        go.set()
        await rig.until(lambda: ids(client, "done") == ["quick", "slow"])


async def test_no_more_calls_run_at_once_than_are_allowed(redis_url: str, client: Client) -> None:
    running, peak = 0, 0

    async def call(event: Event) -> Outcome:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.005)
        running -= 1
        return Forward(event, "respond")

    async with crew(redis_url, hops(call=call), calls=3):
        write(client, *(f"r{n}" for n in range(30)))
        await rig.until(lambda: client.xlen(NAMES.done) == 30)
    assert peak == 3


async def test_who_ended_is_called_back_if_it_asked_for_it(redis_url: str, client: Client) -> None:
    async with crew(redis_url, hops()) as here:
        write(client, "silent")
        write(client, "asked", reply_to="back")
        await rig.until(lambda: here.called_back)
        await rig.until(lambda: client.xpending(NAMES.done, "callback")["pending"] == 0)
        await rig.until(lambda: client.xlen(NAMES.done) == 2)
    assert [event.id for event in here.called_back] == ["asked"]
    assert here.called_back[0].status == "completed"


async def test_an_entry_whose_reply_was_lost_is_adopted(
    redis_url: str, link: Link, client: Client
) -> None:
    write(client, "r1", "r2")
    client.xadd(NAMES.hop("gate"), {"event": events.encode(make_event("g1"))})
    await rig.Crew(redis_url, link, hops()).engine.make_groups()
    for stream, group in (("requests:default", "route"), ("gate", "gate")):
        client.xreadgroup(group, "me", {NAMES.hop(stream): ">"})
    async with crew(redis_url, hops()) as here:
        assert client.xlen(NAMES.done) == 0
        await here.engine.adopt()
        await rig.until(lambda: sorted(ids(client, "done")) == ["g1", "r1", "r2"])


async def test_adopting_again_and_again_changes_nothing(redis_url: str, client: Client) -> None:
    go = asyncio.Event()
    runs: list[str] = []

    async def call(event: Event) -> Outcome:
        runs.append(event.id)
        await go.wait()
        return Forward(event, "respond")

    async with crew(redis_url, hops(call=call)) as here:
        write(client, *(f"r{n}" for n in range(20)))
        await rig.until(lambda: len(runs) == 20)
        await asyncio.gather(*(here.engine.adopt() for _ in range(5)))
        go.set()
        await rig.until(lambda: client.xlen(NAMES.done) == 20)
    assert len(runs) == 20
    assert rig.counter(client, "refused") == 0


async def test_what_others_have_claimed_is_given_up(redis_url: str, client: Client) -> None:
    left: list[str] = []

    async def call(event: Event) -> Outcome:
        try:
            await asyncio.sleep(60)
        finally:
            left.append(event.id)
        return Forward(event, "respond")

    async with crew(redis_url, hops(call=call)) as here:
        write(client, "r1")
        await rig.until(lambda: here.engine.holdings.held["call"])
        [entry] = here.engine.holdings.of("call")
        client.xclaim(NAMES.hop("call"), "call", "other", 0, [entry])
        await here.engine.adopt()
        await rig.until(lambda: left == ["r1"])
        assert len(here.engine.holdings) == 0
    assert client.xpending(NAMES.hop("call"), "call")["pending"] == 1


async def test_draining_takes_nothing_new_and_finishes_what_is_under_way(
    redis_url: str, client: Client
) -> None:
    go = asyncio.Event()

    async def call(event: Event) -> Outcome:
        await go.wait()
        return Forward(event, "respond")

    async with crew(redis_url, hops(call=call)) as here:
        write(client, "old")
        await rig.until(lambda: here.engine.holdings.held["call"])
        await here.engine.stop_reading()
        # Redis hears of the closed connections in its own time; until then it may still deliver.
        await rig.until(lambda: client.info("clients")["blocked_clients"] <= 2)
        write(client, "new")
        go.set()
        assert await here.engine.drain(5) == 0
    assert ids(client, "done") == ["old"]
    assert client.xpending(NAMES.requests["default"], "route")["pending"] == 0


async def test_draining_has_an_end_and_leaves_the_rest_pending(
    redis_url: str, client: Client
) -> None:
    async def call(event: Event) -> Outcome:
        await asyncio.sleep(60)
        return Forward(event, "respond")

    async with crew(redis_url, hops(call=call)) as here:
        write(client, "r1", "r2")
        await rig.until(lambda: here.engine.holdings.held["call"] == 2)
        await here.engine.stop_reading()
        assert await here.engine.drain(0.05) == 2
    assert client.xpending(NAMES.hop("call"), "call")["pending"] == 2
