"""Claiming: everything of the dead, nothing of the living, and poison is found out."""

import asyncio

import pytest

from pipeline import event as events
from pipeline.outcome import Forward, Outcome
from pipeline.streams import keeper
from pipeline.streams.engine import Engine
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.rig import NAMES, Client, counter, ids, last_event, make_event

pytestmark = pytest.mark.anyio

HOPS = ("route", "gate", "call", "respond")


async def wait_for_ever(_event: events.Event) -> Outcome:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


@pytest.fixture
async def engine(redis_url: str, link: Link) -> Engine:
    """Make an engine that reads nothing: what it holds it has claimed."""
    hops = dict.fromkeys(HOPS, wait_for_ever)
    made = rig.Crew(redis_url, link, hops, max_deliveries=3).engine
    await made.make_groups()
    return made


def give(client: Client, consumer: str, stream: str, *request_ids: str) -> None:
    """Have entries of a stream delivered to a consumer, who may be dead, in a house that lives."""
    client.set(NAMES.pulse, "1")
    rig.make_group(client, stream, stream)
    for request_id in request_ids:
        client.xadd(NAMES.hop(stream), {"event": events.encode(make_event(request_id))})
    client.xreadgroup(stream, consumer, {NAMES.hop(stream): ">"})


def show_life(client: Client, *consumers: str) -> None:
    for consumer in consumers:
        client.sadd(NAMES.workers, consumer)
        client.set(NAMES.worker(consumer), "{}")


def bury(client: Client, *consumers: str) -> None:
    for consumer in consumers:
        client.sadd(NAMES.workers, consumer)


def pending(client: Client, stream: str) -> dict[str, int]:
    rows = client.xpending(NAMES.hop(stream), stream)["consumers"]
    return {row["name"].decode(): row["pending"] for row in rows}


def held(engine: Engine, stream: str) -> set[str]:
    runs = (engine.holdings.get(stream, entry) for entry in engine.holdings.of(stream))
    return {run.event.id for run in runs if run}


async def test_only_the_dead_are_claimed_from(engine: Engine, client: Client) -> None:
    give(client, "dead", "call", "d1", "d2")
    give(client, "alive", "call", "a1")
    bury(client, "dead")
    show_life(client, "alive")
    assert (await keeper.claim(engine, wide=False)).entries == 2
    assert pending(client, "call") == {"me": 2, "alive": 1}
    assert held(engine, "call") == {"d1", "d2"}
    assert counter(client, "claimed") == 2
    await engine.drain(0)


async def test_a_living_worker_loses_nothing_however_long_it_takes(
    engine: Engine, client: Client
) -> None:
    give(client, "alive", "call", "a1")
    show_life(client, "alive")
    for wide in (True, False, True):
        assert (await keeper.claim(engine, wide=wide)).entries == 0
    assert pending(client, "call") == {"alive": 1}


async def test_a_claimed_event_knows_its_deliveries(engine: Engine, client: Client) -> None:
    give(client, "dead", "call", "d1")
    bury(client, "dead")
    await keeper.claim(engine, wide=False)
    [entry] = engine.holdings.of("call")
    run = engine.holdings.get("call", entry)
    assert run is not None
    assert run.event.delivery == 2
    [row] = client.xpending_range(NAMES.hop("call"), "call", "-", "+", 1)
    assert row["times_delivered"] == 2
    await engine.drain(0)


async def test_what_took_too_many_workers_down_is_poison(redis_url: str, client: Client) -> None:
    ran: list[str] = []

    async def note(event: events.Event) -> Outcome:
        ran.append(event.id)
        return await wait_for_ever(event)

    give(client, "dead0", "call", "d1")
    [row] = client.xpending_range(NAMES.hop("call"), "call", "-", "+", 1)
    for heir in ("dead1", "dead2"):
        client.xclaim(NAMES.hop("call"), "call", heir, 0, [row["message_id"]])
    bury(client, "dead2")
    async with rig.crew(redis_url, dict.fromkeys(HOPS, note), max_deliveries=2) as here:
        assert (await keeper.claim(here.engine, wide=False)).entries == 1
        await rig.until(lambda: client.xlen(NAMES.dead))
    letter = last_event(client, "dead")
    assert letter.failure is not None
    assert (letter.failure.cause, letter.journal[-1].delivery) == ("poison", 4)
    assert ran == []


async def test_a_thousand_live_entries_in_front_do_not_hide_an_orphan(
    engine: Engine, client: Client
) -> None:
    give(client, "alive", "call", *(f"a{n}" for n in range(1000)))
    give(client, "dead", "call", "orphan")
    show_life(client, "alive")
    bury(client, "dead")
    assert (await keeper.claim(engine, wide=False)).entries == 1
    assert held(engine, "call") == {"orphan"}
    await engine.drain(0)


async def test_who_never_registered_is_found_by_the_wide_scan(
    engine: Engine, client: Client
) -> None:
    give(client, "stranger", "gate", "s1")
    assert (await keeper.claim(engine, wide=False)).entries == 0
    assert (await keeper.claim(engine, wide=True)).entries == 1
    await engine.drain(0)


async def test_a_dead_consumer_is_deleted_once_it_has_nothing_pending(
    engine: Engine, client: Client
) -> None:
    give(client, "dead", "call", *(f"d{n}" for n in range(keeper.CLAIM_BATCH + 1)))
    bury(client, "dead")

    def consumers() -> set[bytes]:
        return {row["name"] for row in client.xinfo_consumers(NAMES.hop("call"), "call")}

    assert (await keeper.claim(engine, wide=False)).entries == keeper.CLAIM_BATCH
    assert b"dead" in consumers()
    assert (await keeper.claim(engine, wide=False)).entries == 1
    assert (await keeper.claim(engine, wide=False)).entries == 0
    assert b"dead" not in consumers()
    assert not client.sismember(NAMES.workers, "dead")
    assert pending(client, "call") == {"me": keeper.CLAIM_BATCH + 1}
    await engine.drain(0)


async def test_a_trimmed_entry_is_acknowledged_and_counted_lost(
    engine: Engine, client: Client
) -> None:
    give(client, "dead", "call", "d1", "d2")
    client.xtrim(NAMES.hop("call"), maxlen=1, approximate=False)
    bury(client, "dead")
    assert (await keeper.claim(engine, wide=False)).entries == 1
    assert pending(client, "call") == {"me": 1}
    assert counter(client, "lost") == 1
    await engine.drain(0)


async def test_of_two_claimers_at_once_one_gets_each_entry(
    engine: Engine, redis_url: str, client: Client
) -> None:
    give(client, "dead", "call", *(f"d{n}" for n in range(150)))
    bury(client, "dead")
    show_life(client, "me", "rival")
    async with rig.linked(redis_url) as other:
        hops = dict.fromkeys(HOPS, wait_for_ever)
        rival = rig.Crew(redis_url, other, hops, consumer="rival").engine
        for _ in range(2):
            await asyncio.gather(*(keeper.claim(e, wide=True) for e in (engine, rival)))
        assert not held(engine, "call") & held(rival, "call")
        assert len(held(engine, "call") | held(rival, "call")) == 150
        assert sum(pending(client, "call").values()) == 150
        await rival.drain(0)
    await engine.drain(0)


async def test_no_more_is_claimed_than_there_is_room_for(
    redis_url: str, link: Link, client: Client
) -> None:
    hops = dict.fromkeys(HOPS, wait_for_ever)
    small = rig.Crew(redis_url, link, hops, calls=3).engine
    await small.make_groups()
    give(client, "dead", "call", *(f"d{n}" for n in range(10)))
    bury(client, "dead")
    assert (await keeper.claim(small, wide=False)).entries == 3
    assert (await keeper.claim(small, wide=False)).entries == 0
    assert pending(client, "call") == {"dead": 7, "me": 3}
    await small.drain(0)


async def test_what_is_claimed_goes_on(redis_url: str, client: Client) -> None:
    async def on(event: events.Event) -> Outcome:
        return Forward(event, "call")

    hops = {**dict.fromkeys(HOPS, wait_for_ever), "gate": on}
    give(client, "dead", "gate", "d1")
    bury(client, "dead")
    async with rig.crew(redis_url, hops, calls=1) as here:
        await keeper.claim(here.engine, wide=False)
        await rig.until(lambda: ids(client, "call") == ["d1"])
    assert last_event(client, "call").delivery == 1
    assert last_event(client, "call").journal[-1].delivery == 2


async def test_a_worker_full_of_calls_still_takes_over_what_is_quick(
    redis_url: str, link: Link, client: Client
) -> None:
    engine = rig.Crew(redis_url, link, dict.fromkeys(HOPS, wait_for_ever), calls=1).engine
    await engine.make_groups()
    give(client, "dead", "call", "c1", "c2")
    give(client, "dead", "respond", "r1")
    bury(client, "dead")
    assert (await keeper.claim(engine, wide=False)).entries == 2
    assert held(engine, "respond") == {"r1"}
    assert pending(client, "call") == {"me": 1, "dead": 1}
    # What is left is not forgotten: its consumer stays known until nothing is.
    assert client.sismember(NAMES.workers, "dead")
    await engine.drain(0)
