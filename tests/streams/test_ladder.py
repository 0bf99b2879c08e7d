"""The ladder: whoever climbs leaves each rung once, on time, whatever the clock and others do."""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from pipeline import event as events
from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.event import Event
from pipeline.flow import CALL, GATE
from pipeline.names import Names
from pipeline.outcome import Climb, Finish, Outcome
from pipeline.streams.link import Link, LinkError
from pipeline.streams.mover import LEAST, SLICE, Moved, Mover
from pipeline.streams.scripts import CANCEL, PROMOTE
from tests.streams.climbing import OVERLOADED, RUNGS, Hours, climb, failing_hops, now_ms, put
from tests.streams.rig import (
    NAMES,
    Client,
    connect,
    crew,
    desk,
    ids,
    linked,
    make_event,
    until,
)

pytestmark = pytest.mark.anyio


async def test_the_whole_ladder_takes_no_time_on_the_virtual_clock(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    began = time.monotonic()
    hours = Hours(client)
    async with crew(redis_url, failing_hops(tmp_path)) as here:
        request = make_event("r1", direct=True, reply_to="answers")
        client.xadd(NAMES.requests["default"], {"event": events.encode(request)})
        for leg, rung in enumerate(RUNGS, 1):
            await until(functools.partial(client.xlen, NAMES.rung(rung)), f"the rung of {rung} s")
            record = client.hgetall(NAMES.record("r1"))
            assert (record[b"status"], record[b"rung"]) == (b"retrying", str(rung).encode())
            assert abs(float(record[b"due"]) - rung - now_ms(client) / 1000) < 2
            hours.pass_(rung - 5)
            assert (await here.engine.mover.move()).events == 0, "it left early"
            assert client.xlen(NAMES.done) == 0
            hours.pass_(5)
            left = await here.engine.mover.move()
            assert (left.events, left.due_s) == (1, None), f"leg {leg}"
        await until(lambda: client.xlen(NAMES.done), "its end")
    [letter] = [events.decode(row[b"event"]) for _, row in client.xrange(NAMES.dead)]
    assert (letter.leg, letter.climbed, letter.attempts) == (5, RUNGS, 5)
    [(_, closing)] = client.xrange(NAMES.reply("r1"))
    told = msgspec.json.decode(closing[b"event"])["failure"]
    assert (told["status"], told["code"]) == (503, "provider_exhausted")
    assert told["metadata"]["climbed"] == list(RUNGS)
    assert set(client.hgetall(NAMES.record("r1"))).isdisjoint({b"rung", b"rung_entry", b"due"})
    assert not client.exists(NAMES.rungs, f"{NAMES.rungs}:due")
    assert not any(client.xlen(NAMES.rung(rung)) for rung in RUNGS)
    assert time.monotonic() - began < 5


async def test_a_worker_moves_what_falls_due_by_its_timer_alone(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    hops = failing_hops(tmp_path)
    seen: list[float] = []

    async def call(event: Event) -> Outcome:
        if event.leg > 1:
            seen.append(now_ms(client))
            return Finish(event)
        return Climb(msgspec.structs.replace(event, leg=2), OVERLOADED, 1)

    async with crew(redis_url, {**hops, CALL: call}):
        client.xadd(NAMES.requests["default"], {"event": events.encode(make_event())})
        await until(lambda: client.xlen(NAMES.rung(1)), "the climb")
        due = 1000 * float(client.hget(NAMES.record("r1"), "due"))
        await until(lambda: client.xlen(NAMES.done), "its end")
    assert 0 <= seen[0] - due < 500


@pytest.mark.parametrize("jump", [3600, 30, -30, -3600])
async def test_a_clock_that_jumps_delays_nobody(link: Link, client: Client, jump: int) -> None:
    hours, mover = Hours(client), Mover(link, NAMES)
    put_at: dict[str, int] = {}
    left_at: dict[str, int] = {}
    gone = 0
    async with desk(link, client) as at:
        for second in range(200):
            if second in {0, 19, 20, 21, 50, 80, 81, 100}:
                name = f"at-{second}"
                put_at[name] = second
                await climb(at, name)
            # There and back again: both are jumps.
            hours.pass_({20: jump, 80: -jump}.get(second, 0))
            await mover.move()
            gate = ids(client, GATE)
            left_at |= dict.fromkeys(gate[gone:], second)
            gone = len(gate)
            hours.pass_(1)
    assert left_at.keys() == put_at.keys()
    waited = {name: left_at[name] - put_at[name] for name in put_at}
    assert max(waited.values()) <= 60 + 3, waited
    unhurried = {"at-100", "at-0"} if jump < 0 else {"at-100"}
    # The time that the test itself takes passes, too.
    assert all(waited[name] >= 60 - 5 for name in unhurried), waited


async def test_a_clock_that_was_lost_delays_nobody(link: Link, client: Client) -> None:
    hours, mover = Hours(client), Mover(link, NAMES)
    hours.pass_(3600)
    async with desk(link, client) as at:
        await climb(at, "a", "b")
    client.delete(f"{NAMES.rungs}:clock", NAMES.clock)
    assert (await mover.move()).events == 2


@pytest.mark.parametrize("due", ["", "soon", "nan", "inf", "-inf", "1e400", "-7", "0x10", 9e15])
async def test_a_due_that_makes_no_sense_is_now(link: Link, client: Client, due: object) -> None:
    put(client, 60, "first", due)
    put(client, 60, "wrong", due)
    put(client, 60, "right", f"{now_ms(client) + 30_000:.0f}")
    moved = await Mover(link, NAMES).move()
    assert moved.events == 2
    assert 29 < (moved.due_s or 0) <= 30
    assert ids(client, GATE) == ["first", "wrong"]


async def test_an_entry_out_of_order_holds_up_nobody_behind_it(link: Link, client: Client) -> None:
    mover, hours = Mover(link, NAMES), Hours(client)
    put(client, 60, "later", f"{now_ms(client) + 59_000:.0f}")
    put(client, 60, "sooner", f"{now_ms(client) + 10_000:.0f}")
    assert 9 < ((await mover.move()).due_s or 0) <= 10
    hours.pass_(11)
    moved = await mover.move()
    assert (ids(client, GATE), moved.events) == (["sooner"], 1)
    assert 47 < (moved.due_s or 0) <= 48


async def test_a_note_that_is_wrong_is_mended_by_who_climbs_next(
    link: Link, client: Client
) -> None:
    client.zadd(NAMES.rungs, {"60": now_ms(client) + 90_000})
    async with desk(link, client) as at:
        await climb(at, "a")
    Hours(client).pass_(60)
    assert (await Mover(link, NAMES).move()).events == 1


async def test_what_is_no_event_becomes_a_dead_letter_and_blocks_nobody(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    client.xadd(NAMES.rung(60), {"nothing": "of ours"})
    client.xadd(NAMES.rung(60), {"event": "{"})
    client.xadd(NAMES.rung(60), {"event": b"\xff\xfe", "due": "yesterday", "id": "odd"})
    client.set(NAMES.record("odd"), "no hash")
    put(client, 60, "good")
    async with crew(redis_url, failing_hops(tmp_path)) as here:
        here.engine.mover.look_in(0)
        await until(lambda: client.xlen(NAMES.dead) == 3, "the dead letters")
        await until(lambda: client.xlen(NAMES.rung(60)) == 0, "the good one's leaving")
        # It has used its rung of a minute, and the next one is free.
        await until(lambda: client.xlen(NAMES.rung(600)), "the good one's next climb")
    assert {failure_of(row) for _, row in client.xrange(NAMES.dead)} == {"malformed_event"}


def failure_of(row: Mapping[bytes, bytes]) -> str:
    failure = events.decode(row[b"event"]).failure
    return str(failure and failure.code)


async def test_rungs_whose_notes_were_lost_are_found_again(link: Link, client: Client) -> None:
    put(client, 60, "r1")
    put(client, 600, "r2", f"{now_ms(client) + 300_000:.0f}")
    client.delete(NAMES.rungs, f"{NAMES.rungs}:due")
    mover = Mover(link, NAMES)
    assert (await mover.move()).events == 0
    moved = await mover.move(RUNGS)
    assert (ids(client, GATE), moved.events) == (["r1"], 1)
    assert 299 < (moved.due_s or 0) <= 300
    assert client.zrange(NAMES.rungs, 0, -1) == [b"600"]


async def test_movers_at_once_move_each_event_once(redis_url: str, client: Client) -> None:
    for number in range(600):
        put(client, 1 + number % 3, f"r{number}")
    async with linked(redis_url, "one") as one, linked(redis_url, "two") as two:
        movers = [Mover(link, NAMES) for link in (one, two)]
        while client.zcard(NAMES.rungs):
            await asyncio.gather(*(mover.move(most=50, at_gate=1000) for mover in movers * 2))
    assert Counter(ids(client, GATE)) == Counter(f"r{number}" for number in range(600))


async def test_a_mover_that_is_cut_off_leaves_nothing_half_done(
    redis_url: str, client: Client
) -> None:
    for number in range(500):
        put(client, 60, f"r{number}")
    async with linked(redis_url, "doomed") as doomed, linked(redis_url) as heir:
        for _ in range(5):
            moving = asyncio.gather(
                *(Mover(doomed, NAMES).move(most=20, at_gate=1000) for _ in range(5)),
                return_exceptions=True,
            )
            await asyncio.sleep(0)
            client.client_kill_filter(_type="normal", skipme=True)
            assert all(isinstance(end, LinkError | Moved) for end in await moving)
            await asyncio.gather(doomed.up(), heir.up())
        await until_moved(Mover(heir, NAMES))
    assert Counter(ids(client, GATE)) == Counter(f"r{number}" for number in range(500))


async def until_moved(mover: Mover) -> None:
    while (await mover.move(most=100, at_gate=1000)).due_s is not None:
        pass


async def test_a_full_gate_gets_few_and_an_empty_one_a_slice(link: Link, client: Client) -> None:
    for number in range(SLICE + LEAST + 1):
        put(client, 60, f"r{number}")
    mover = Mover(link, NAMES)
    assert (await mover.move()).events == SLICE
    assert (await mover.move(at_gate=1)).events == LEAST
    last = await mover.move()
    assert (last.events, last.at_gate, last.due_s) == (1, SLICE + LEAST + 1, None)


async def test_who_is_due_first_leaves_first_whatever_the_rung(link: Link, client: Client) -> None:
    for rung, late in [(60, 10), (600, 30), (3600, 20)]:
        put(client, rung, f"on-{rung}", f"{now_ms(client) - late * 1000:.0f}")
    for rung, late in [(60, 10), (600, 30), (3600, 20)]:
        client.zadd(NAMES.rungs, {str(rung): now_ms(client) - late * 1000})
    for _ in RUNGS:
        await Mover(link, NAMES).move(most=1)
    assert ids(client, GATE) == ["on-600", "on-3600", "on-60"]


async def test_a_full_redis_still_lets_events_leave(own_redis: EmbeddedRedis) -> None:
    with connect(own_redis.url) as client:
        for number in range(20):
            put(client, 60, f"r{number}")
        client.config_set("maxmemory", 1)
        async with linked(own_redis.url) as link:
            await until_moved(Mover(link, NAMES))
        assert client.xlen(NAMES.hop(GATE)) == 20


async def test_who_is_promoted_leaves_at_once_and_alone(link: Link, client: Client) -> None:
    async with desk(link, client) as at:
        await climb(at, "a", "b", "c")
        assert await link.run(PROMOTE, [NAMES.rungs], [NAMES.prefix, "b", "stranger"]) == 1
        assert await link.run(PROMOTE, [NAMES.rungs], [NAMES.prefix, "b"]) == 0
    assert ids(client, GATE) == ["b"]
    assert ids(client, "rung:60") == ["a", "c"]
    assert not client.hexists(NAMES.record("b"), "rung_entry")


async def test_who_is_cancelled_on_a_rung_ends_at_the_gate(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with linked(redis_url) as link, desk(link, client) as at:
        await climb(at, "a", "b")
        assert await link.run(CANCEL, [NAMES.rungs], [NAMES.prefix, "a", "client"]) == 1
        async with crew(redis_url, failing_hops(tmp_path)):
            await until(lambda: client.xlen(NAMES.done), "its end")
        assert await link.run(CANCEL, [NAMES.rungs], [NAMES.prefix, "a", "client"]) == 0
        assert await link.run(CANCEL, [NAMES.rungs], [NAMES.prefix, "nobody", "client"]) == -1
    assert ids(client, "done") == ["a"]
    assert client.hget(NAMES.record("a"), "status") == b"cancelled"
    assert client.xlen(NAMES.dead) == 0
    assert ids(client, "rung:60") == ["b"]


async def test_who_was_cancelled_before_climbing_does_not_climb(link: Link, client: Client) -> None:
    client.hset(NAMES.record("a"), "status", "running")
    await link.run(CANCEL, [NAMES.rungs], [NAMES.prefix, "a", "operator"])
    async with desk(link, client) as at:
        await climb(at, "a")
    [(_, fields)] = client.xrange(NAMES.hop(GATE))
    assert fields[b"cancelled"] == b"1"
    assert not client.exists(NAMES.rung(60), Names("t").rungs)
