"""Transitions onto the ladder, of who is cancelled, and what lives longer than its request."""

from collections.abc import Callable

import msgspec
import pytest

from pipeline.errors import Failure
from pipeline.event import Event, Lease
from pipeline.outcome import Climb, Finish, Forward, Outcome, Wait
from pipeline.streams.carriage import Kept
from pipeline.streams.link import Link
from pipeline.streams.scripts import CANCEL, PROMOTE
from tests.streams.rig import NAMES, Client, desk, ids, last_event, make_event

pytestmark = pytest.mark.anyio

BUSY = Failure(message="busy", cause="overloaded")


def climb(event: Event) -> Climb:
    return Climb(msgspec.structs.replace(event, leg=2, climbed=(60,)), BUSY, 60)


def call(event: Event) -> Forward:
    return Forward(msgspec.structs.replace(event, lease=Lease(deployment="p/m")), "call")


@pytest.mark.parametrize("to", [call, Finish])
async def test_what_is_routed_knows_the_entry_by_which_it_was_put_in(
    link: Link, client: Client, to: Callable[[Event], Outcome]
) -> None:
    async with desk(link, client) as here:
        run = here.deliver("requests:low", make_event(priority=-1))
        await here.carry((run, to(run.event)))
    routed = last_event(client, "call" if to is call else "done")
    assert routed.entry == f"low:{run.source.entry}"


async def test_who_climbs_stands_on_its_rung_with_its_time(link: Link, client: Client) -> None:
    heard: list[float] = []
    async with desk(link, client) as here:
        here.carrier.on_climb = heard.append
        run = here.deliver("call", make_event())
        await here.carry((run, climb(run.event)))
    [(entry, fields)] = client.xrange(NAMES.rung(60))
    assert last_event(client, "rung:60").climbed == (60,)
    seconds, _ = client.time()
    assert int(fields[b"due"]) == pytest.approx((seconds + 60) * 1000, abs=2000)
    assert fields[b"id"] == b"r1"
    record = client.hgetall(NAMES.record("r1"))
    assert (record[b"status"], record[b"rung"], record[b"leg"]) == (b"retrying", b"60", b"2")
    assert record[b"rung_entry"] == entry
    assert float(record[b"due"]) == pytest.approx(seconds + 60, abs=2)
    assert client.zrange(NAMES.rungs, 0, -1) == [b"60"]
    assert (client.xlen(NAMES.hop("call")), heard) == (0, [60])


@pytest.mark.parametrize(("to", "lands"), [(Wait, "gate"), (climb, "gate"), (call, "call")])
async def test_who_is_cancelled_neither_waits_nor_climbs_nor_is_called(
    link: Link, client: Client, to: Callable[[Event], Outcome], lands: str
) -> None:
    async with desk(link, client) as here:
        run = here.deliver("gate", make_event())
        client.hset(NAMES.record("r1"), "status", "queued")
        assert await cancel(link, "r1") == 1
        await here.carry((run, to(run.event)))
    [(_, fields)] = client.xrange(NAMES.hop(lands))
    assert fields[b"cancelled"] == b"1"
    assert not client.exists(NAMES.parked, NAMES.rung(60), NAMES.rungs)


async def test_cancelling_takes_an_event_off_its_rung(link: Link, client: Client) -> None:
    await on_a_rung(link, client, "r1")
    assert await cancel(link, "r1") == 1
    [(_, fields)] = client.xrange(NAMES.hop("gate"))
    assert fields[b"cancelled"] == b"1"
    assert client.xlen(NAMES.rung(60)) == 0
    assert not client.hexists(NAMES.record("r1"), "rung")


@pytest.mark.parametrize(("status", "told"), [(None, -1), ("completed", 0), ("failed", 0)])
async def test_what_has_ended_or_never_was_is_not_cancelled(
    link: Link, client: Client, status: str | None, told: int
) -> None:
    if status:
        client.hset(NAMES.record("r1"), "status", status)
    assert await cancel(link, "r1") == told
    assert not client.hexists(NAMES.record("r1"), "cancel")


async def test_promoting_lets_an_event_leave_early_and_twice_is_once(
    link: Link, client: Client
) -> None:
    for name in ("r1", "r2"):
        await on_a_rung(link, client, name)
    for promoted in (1, 0):
        arguments = [NAMES.prefix, "r2", "unknown"]
        assert await link.run(PROMOTE, [NAMES.rungs], arguments) == promoted
    assert (ids(client, "gate"), ids(client, "rung:60")) == (["r2"], ["r1"])


async def test_a_session_is_kept_while_its_last_request_has_not_ended(
    link: Link, client: Client
) -> None:
    client.rpush(NAMES.session("s1"), "r1", "later")
    async with desk(link, client) as here:
        run = here.deliver("respond", make_event(session="s1"))
        await here.carry((run, Finish(run.event)))
    assert client.ttl(NAMES.session("s1")) == -1


async def test_an_idempotency_key_keeps_record_and_reply_for_who_repeats_it(
    link: Link, client: Client
) -> None:
    client.hset(NAMES.idempotency("k"), "id", "r1")
    client.hset(NAMES.record("r1"), "idempotency", "k")
    kept = Kept(replies_s=100, events_s=200, dead_s=300, repeats_s=5000)
    async with desk(link, client, kept=kept) as here:
        run = here.deliver("respond", make_event())
        await here.carry((run, Finish(run.event)))
    keys = (NAMES.record("r1"), NAMES.reply("r1"), NAMES.idempotency("k"))
    assert [client.ttl(key) for key in keys] == pytest.approx([5000] * 3, abs=2)


async def on_a_rung(link: Link, client: Client, name: str) -> None:
    async with desk(link, client) as here:
        run = here.deliver("call", make_event(name))
        await here.carry((run, climb(run.event)))


async def cancel(link: Link, name: str) -> int:
    told: int = await link.run(CANCEL, [NAMES.record(name)], [NAMES.prefix, name, "operator"])
    return told
