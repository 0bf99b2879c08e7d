"""Accepting: once for each id, many at a time, and a clear no when Redis cannot."""

import asyncio
import time

import msgspec
import pytest

from pipeline import event as events
from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.errors import QueueFull, RedisUnavailable
from pipeline.names import LANES
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Link
from pipeline.streams.once import Accepted
from pipeline.streams.patience import PATIENCE_S
from tests.streams import rig
from tests.streams.rig import BODY, NAMES, Client, ids, last_event, make_event

pytestmark = pytest.mark.anyio


@pytest.fixture
def ingress(link: Link) -> Ingress:
    """Give the door under test."""
    return Ingress(link, NAMES)


async def test_what_is_accepted_stands_in_its_lane_and_has_a_record(
    ingress: Ingress, client: Client
) -> None:
    event = make_event(priority=5, session="s", tenant="acme", user="u", deadline=12.5)
    accepted = await ingress.accept(event, BODY, inbox="g+")
    [(stored, _)] = client.xrange(NAMES.requests["high"])
    assert accepted == Accepted(id="r1", entry=f"high:{stored.decode()}")
    assert last_event(client, "requests:high") == event
    assert client.hgetall(NAMES.record("r1")) == {
        b"entry": accepted.entry.encode(),
        b"turn": b"1",
        b"inboxes": b"g+",
        b"status": b"queued",
        b"model": b"m",
        b"operation": b"chat",
        b"created": b"1.000000",
        b"priority": b"5",
        b"session": b"s",
        b"tenant": b"acme",
        b"user": b"u",
        b"deadline": b"12.500000",
    }


@pytest.mark.parametrize(("priority", "lane"), [*zip((1, 0, -1), LANES, strict=True)])
async def test_the_priority_chooses_the_lane(
    ingress: Ingress, client: Client, priority: int, lane: str
) -> None:
    await ingress.accept(make_event(priority=priority), BODY)
    assert ids(client, f"requests:{lane}") == ["r1"]


async def test_an_id_is_accepted_once_however_often_it_is_asked(
    ingress: Ingress, client: Client
) -> None:
    event = make_event(session="s")
    together = await asyncio.gather(*(ingress.accept(event, BODY) for _ in range(5)))
    later = await ingress.accept(event, BODY)
    assert len({*together, later}) == 1
    assert client.xlen(NAMES.requests["default"]) == 1
    assert client.llen(NAMES.session("s")) == 1


async def test_many_are_accepted_in_few_calls_of_the_script(
    ingress: Ingress, client: Client
) -> None:
    await ingress.accept(make_event("warm"), BODY)
    client.config_resetstat()
    await asyncio.gather(*(ingress.accept(make_event(f"r{n}"), BODY) for n in range(200)))
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 3
    assert client.xlen(NAMES.requests["default"]) == 201


async def test_a_session_that_was_to_expire_is_kept_for_its_next_request(
    ingress: Ingress, client: Client
) -> None:
    await ingress.accept(make_event("a", session="s"), BODY)
    client.expire(NAMES.session("s"), 100)
    await ingress.accept(make_event("b", session="s"), BODY)
    assert client.ttl(NAMES.session("s")) == -1


async def test_the_turn_is_the_place_in_the_session(ingress: Ingress, client: Client) -> None:
    for name in ("a", "b", "c"):
        await ingress.accept(make_event(name, session="s"), BODY)
    assert client.lrange(NAMES.session("s"), 0, -1) == [b"a", b"b", b"c"]
    assert client.hget(NAMES.record("c"), "turn") == b"3"


@pytest.mark.parametrize("over", [0, 1])
async def test_only_a_large_body_is_stored_apart(
    ingress: Ingress, client: Client, over: int
) -> None:
    body = msgspec.json.encode("x" * (events.INLINE_BYTES + over - 2))
    await ingress.accept(make_event(body=events.NO_BODY), body)
    event = last_event(client, "requests:default")
    assert event.body_bytes == len(body)
    assert event.has_body == (not over)
    assert client.get(NAMES.body("r1")) == (body if over else None)


async def test_many_large_bodies_are_all_accepted(ingress: Ingress, client: Client) -> None:
    body = msgspec.json.encode("x" * 1_500_000)
    accepts = (ingress.accept(make_event(f"r{n}", body=events.NO_BODY), body) for n in range(6))
    await asyncio.gather(*accepts)
    assert client.xlen(NAMES.requests["default"]) == 6
    assert all(client.strlen(NAMES.body(f"r{n}")) == len(body) for n in range(6))


async def test_a_full_redis_is_a_full_queue_and_nothing_is_written(
    ingress: Ingress, client: Client
) -> None:
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueFull) as raised:
            await ingress.accept(make_event(session="s"), BODY)
    finally:
        client.config_set("maxmemory", 0)
    assert raised.value.status == 503
    assert raised.value.retry_after_s > 0
    assert client.keys("*") == []
    await ingress.accept(make_event(), BODY)


async def test_a_redis_that_refuses_writes_is_unavailable(ingress: Ingress, client: Client) -> None:
    client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(RedisUnavailable):
            await ingress.accept(make_event(), BODY)
    finally:
        client.config_set("min-replicas-to-write", 0)
    assert client.keys("*") == []


async def test_accepting_goes_on_after_the_connection_was_cut(
    ingress: Ingress, client: Client
) -> None:
    client.client_kill_filter(_type="normal", skipme=True)
    assert (await ingress.accept(make_event(), BODY)).entry
    assert ids(client, "requests:default") == ["r1"]


async def test_without_redis_patience_has_an_end(own_redis: EmbeddedRedis) -> None:
    async with rig.linked(own_redis.url) as link:
        ingress = Ingress(link, NAMES)
        await ingress.accept(make_event("before"), BODY)
        own_redis.stop()
        began = time.monotonic()
        with pytest.raises(RedisUnavailable):
            await ingress.accept(make_event(), BODY)
        assert time.monotonic() - began < PATIENCE_S + 1
