"""Somebody else destroys groups and deletes entries: calls stay apart, and nobody is forgotten."""

import asyncio

import pytest

from pipeline import event as events
from pipeline.event import Event
from pipeline.outcome import Climb, Finish, Forward, Outcome
from pipeline.streams.engine import Engine
from pipeline.streams.link import Link
from pipeline.streams.missing import LOST, find_missing
from tests.streams import rig
from tests.streams.rig import NAMES, Client, counter, ids, make_event
from tests.streams.test_claims import HOPS, wait_for_ever

pytestmark = pytest.mark.anyio


async def finish(event: Event) -> Outcome:
    return Finish(event)


@pytest.fixture
def engine(redis_url: str, link: Link) -> Engine:
    """Make an engine that reads nothing: what it holds it has adopted."""
    return rig.Crew(redis_url, link, dict.fromkeys(HOPS, wait_for_ever)).engine


def put(client: Client, stream: str, *request_ids: str, **fields: object) -> None:
    for request_id in request_ids:
        payload = events.encode(make_event(request_id))
        client.xadd(NAMES.hop(stream), {"event": payload, **fields})


def accept(client: Client, request_id: str, status: str = "running") -> None:
    """Leave of a request what is there once it has been routed."""
    payload = events.encode(make_event(request_id))
    entry = client.xadd(NAMES.requests["default"], {"event": payload})
    facts = {"status": status, "entry": f"default:{entry.decode()}", "routed": 1}
    client.hset(NAMES.record(request_id), mapping=facts)


def found(client: Client) -> list[bytes]:
    rows = client.xrange(NAMES.requests["default"])
    return [fields[b"event"] for _, fields in rows if b"missing" in fields]


async def test_calls_whose_group_was_lost_are_delivered_once_more(
    engine: Engine, client: Client
) -> None:
    put(client, "call", "c1")
    put(client, "gate", "g1")
    for times in (1, 2):
        client.xgroup_destroy(NAMES.hop("call"), "call")
        await engine.make_groups()
        [(_, fields)] = client.xrange(NAMES.hop("call"))
        assert fields[b"again"] == str(times).encode()
    [(_, [(entry, fields)])] = client.xreadgroup("call", "me", {NAMES.hop("call"): ">"})
    pairs = [part for pair in fields.items() for part in pair]
    engine.begin("call", entry.decode(), pairs, 1)
    run = engine.holdings.get("call", entry.decode())
    assert run
    assert run.event.delivery == 3
    # Who only decides may decide twice.
    [(_, fields)] = client.xrange(NAMES.hop("gate"))
    assert b"again" not in fields
    await engine.drain(0)


async def test_an_adopted_entry_counts_as_delivered_again(engine: Engine, client: Client) -> None:
    await engine.make_groups()
    put(client, "call", "mine", "gone")
    put(client, "call", "others")
    key = NAMES.hop("call")
    [(_, rows)] = client.xreadgroup("call", "me", {key: ">"}, count=2)
    client.xreadgroup("call", "other", {key: ">"})
    client.xdel(key, rows[1][0])
    await asyncio.gather(engine.adopt(), engine.adopt())
    [run] = [engine.holdings.get("call", entry) for entry in engine.holdings.of("call")]
    assert run
    assert (run.event.id, run.event.delivery) == ("mine", 2)
    rows = client.xpending_range(key, "call", "-", "+", 10, "me")
    assert [row["times_delivered"] for row in rows] == [2]
    assert counter(client, "lost") == 1
    await engine.drain(0)


async def test_an_outcome_whose_group_was_lost_is_refused_and_the_batch_goes_on(
    link: Link, client: Client
) -> None:
    async with rig.desk(link, client) as desk:
        first = desk.deliver("call", make_event("first"))
        second = desk.deliver("gate", make_event("second"))
        client.xgroup_destroy(NAMES.hop("gate"), "gate")
        await desk.carry(
            (first, Forward(first.event, "respond")), (second, Forward(second.event, "call"))
        )
    assert ids(client, "respond") == ["first"]
    assert ids(client, "call") == []
    assert counter(client, "refused") == 1


async def test_who_is_nowhere_is_put_in_once_more(
    engine: Engine, link: Link, client: Client
) -> None:
    await engine.make_groups()
    accept(client, "nowhere")
    accept(client, "ended", "completed")
    for place in ("gate", "parked", "lane"):
        accept(client, place)
    put(client, "gate", "gate")
    client.hset(NAMES.parked, "parked", "{}")
    client.hdel(NAMES.record("lane"), "routed")
    await find_missing(link, NAMES, 3600)
    assert found(client) == []
    await find_missing(link, NAMES, -1)
    [payload] = found(client)
    assert events.decode(payload).id == "nowhere"
    assert counter(client, "missing") == 1
    await find_missing(link, NAMES, -1)
    assert len(found(client)) == 1


async def test_who_was_deleted_on_a_rung_is_told(
    redis_url: str, link: Link, client: Client
) -> None:
    accept(client, "r1")
    async with rig.desk(link, client) as desk:
        run = desk.deliver("call", make_event("r1"))
        climbing = make_event("r1", leg=2, climbed=(60,))
        await desk.carry((run, Climb(climbing, LOST, 60)))
    async with rig.crew(redis_url, dict.fromkeys(HOPS, finish)):
        await find_missing(link, NAMES, -1)
        assert found(client) == []
        client.xtrim(NAMES.rung(60), maxlen=0, approximate=False)
        await find_missing(link, NAMES, -1)
        await rig.until(lambda: client.xlen(NAMES.done))
    [(_, fields)] = client.xrange(NAMES.dead)
    letter = events.decode(fields[b"event"])
    assert (letter.failure, letter.leg) == (LOST, 2)
    assert letter.has_body
    assert client.hget(NAMES.record("r1"), "status") == b"failed"


async def test_who_is_in_a_workers_hands_is_not_looked_for(
    engine: Engine, link: Link, client: Client
) -> None:
    await engine.make_groups()
    accept(client, "held")
    put(client, "call", "held")
    client.xreadgroup("call", "me", {NAMES.hop("call"): ">"})
    client.xtrim(NAMES.hop("call"), maxlen=0, approximate=False)
    await find_missing(link, NAMES, -1)
    assert found(client) == []
