"""The engine meets bugs, poison and a Redis that forgets; nothing ends it."""

import asyncio
import json

import pytest

from pipeline import event as events
from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.event import Event
from pipeline.outcome import Forward, Outcome
from tests.streams import rig
from tests.streams.rig import NAMES, Client, crew, ids, last_event
from tests.streams.test_engine import hops, write

pytestmark = pytest.mark.anyio

SECRET = "sk-0123456789"


async def raise_at_once(event: Event) -> Outcome:
    raise RuntimeError(f"no luck with {SECRET}")


async def raise_later(event: Event) -> Outcome:
    await asyncio.sleep(0)
    raise RuntimeError(f"no luck with {SECRET}")


@pytest.mark.parametrize("hop", ["route", "gate", "call", "respond"])
@pytest.mark.parametrize("fail", [raise_at_once, raise_later])
async def test_a_hop_that_raises_makes_a_dead_letter_without_secrets(
    redis_url: str, client: Client, hop: str, fail: object
) -> None:
    async with crew(redis_url, {**hops(), hop: fail}):  # type: ignore[dict-item]
        write(client, "r1")
        await rig.until(lambda: client.xlen(NAMES.dead))
    letter = last_event(client, "dead")
    assert letter.failure is not None
    assert (letter.failure.cause, letter.failure.code) == ("bug", "internal_error")
    assert letter.journal[-1].hop == hop
    assert letter.journal[-1].facts == {"error": "RuntimeError"}
    record = client.hgetall(NAMES.record("r1"))
    told = [client.xrange(NAMES.dead), client.xrange(NAMES.done), client.xrange(NAMES.reply("r1"))]
    assert SECRET not in repr(told)
    assert SECRET not in repr(record)
    assert record[b"status"] == b"failed"


async def test_a_malformed_entry_ends_and_the_next_goes_on(redis_url: str, client: Client) -> None:
    lane = NAMES.requests["default"]
    deep = b'{"prompt":"x","reply_to":"b","a":' + b"[" * 100_000
    async with crew(redis_url, hops()) as here:
        client.xadd(lane, {"event": deep})
        client.xadd(lane, {"event": b"\xff"})
        client.xadd(lane, {"other": b"{}"})
        client.xadd(lane, {"event": json.dumps({"priority": 99, "callback_queue": "back"})})
        write(client, "good")
        await rig.until(lambda: client.xlen(NAMES.done) == 5)
        await rig.until(lambda: here.called_back)
    assert client.xlen(NAMES.dead) == 4
    letters = [events.decode(fields[b"event"]) for _, fields in client.xrange(NAMES.dead)]
    assert {letter.failure and letter.failure.cause for letter in letters} == {"malformed"}
    [called] = here.called_back
    assert called.reply_to == "back"
    assert client.xpending(lane, "route")["pending"] == 0


async def test_a_malformed_entry_between_hops_ends_too(redis_url: str, client: Client) -> None:
    async with crew(redis_url, hops()):
        client.xadd(NAMES.hop("call"), {"event": b'{"v":2}'})
        await rig.until(lambda: client.xlen(NAMES.dead))
        write(client, "good")
        await rig.until(lambda: "good" in ids(client, "done"))
    assert client.xlen(NAMES.hop("call")) == 0


async def test_a_callback_that_raises_is_given_up_and_the_next_is_made(
    redis_url: str, client: Client
) -> None:
    called: list[str] = []

    async def call_back(event: Event) -> None:
        called.append(event.id)
        raise ValueError("no form for it")

    async with crew(redis_url, hops()) as here:
        here.engine._call_back = call_back
        write(client, "r1", "r2", reply_to="back")
        await rig.until(lambda: len(called) == 2)
        await rig.until(lambda: len(here.engine.holdings) == 0)
        await rig.until(lambda: client.xpending(NAMES.done, "callback")["pending"] == 0)


async def test_a_destroyed_group_is_made_anew(redis_url: str, client: Client) -> None:
    async with crew(redis_url, hops()):
        write(client, "before")
        await rig.until(lambda: client.xlen(NAMES.done))
        for stream in ("gate", "call", "respond"):
            client.xgroup_destroy(NAMES.hop(stream), stream)
        client.xtrim(NAMES.requests["default"], maxlen=0, approximate=False)
        client.xgroup_destroy(NAMES.requests["default"], "route")
        write(client, "after")
        await rig.until(lambda: "after" in ids(client, "done"))


async def test_an_emptied_redis_is_used_again(redis_url: str, client: Client) -> None:
    async with crew(redis_url, hops()):
        write(client, "before")
        await rig.until(lambda: client.xlen(NAMES.done))
        client.flushall()
        write(client, "after")
        await rig.until(lambda: ids(client, "done") == ["after"])


async def test_lost_scripts_are_sent_again(redis_url: str, client: Client) -> None:
    async with crew(redis_url, hops()):
        client.script_flush()
        write(client, "r1")
        await rig.until(lambda: client.xlen(NAMES.done))


async def test_cut_connections_lose_nothing(redis_url: str, client: Client) -> None:
    async def call(event: Event) -> Outcome:
        await asyncio.sleep(0.002)
        return Forward(event, "respond")

    async with crew(redis_url, hops(call=call), calls=20):
        for batch in range(5):
            write(client, *(f"r{batch}.{n}" for n in range(40)))
            await asyncio.sleep(0.02)
            client.client_kill_filter(_type="normal", skipme=True)
        await rig.until(lambda: client.xlen(NAMES.done) == 200, timeout_s=8)
    assert len(set(ids(client, "done"))) == 200
    assert client.xlen(NAMES.dead) == 0


async def test_a_redis_that_comes_back_empty_is_used_again(own_redis: EmbeddedRedis) -> None:
    with rig.connect(own_redis.url) as client:
        async with crew(own_redis.url, hops()):
            write(client, "before")
            await rig.until(lambda: client.xlen(NAMES.done))
            client.flushall()
            await asyncio.to_thread(own_redis.restart)
            write(client, "after")
            await rig.until(lambda: ids(client, "done") == ["after"], timeout_s=8)


async def test_a_refusing_redis_is_asked_again_in_time(redis_url: str, client: Client) -> None:
    async with crew(redis_url, hops()):
        client.config_set("min-replicas-to-write", 1)
        try:
            await asyncio.sleep(0.1)
            client.config_resetstat()
            await asyncio.sleep(0.3)
            asked = client.info("stats")["total_commands_processed"]
        finally:
            client.config_set("min-replicas-to-write", 0)
        assert asked < 500
        write(client, "r1")
        await rig.until(lambda: client.xlen(NAMES.done))
