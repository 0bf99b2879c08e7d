"""Transitions: each outcome is carried out in one step, once, and only by who holds the entry."""

import asyncio

import msgspec
import pytest

from pipeline import event as events
from pipeline.errors import Failure
from pipeline.event import Candidate, Closing, Event, Lease, Usage
from pipeline.outcome import Die, Finish, Forward, Outcome, Wait
from pipeline.streams.carriage import Source
from pipeline.streams.inbox import CLOSING
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.rig import NAMES, Client, counter, desk, ids, last_event, make_event

pytestmark = pytest.mark.anyio

FAILURE = Failure(message="no", code="provider_exhausted", status=503, cause="exhausted")


def record(client: Client, request_id: str = "r1") -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = client.hgetall(NAMES.record(request_id))
    return found


def closing_of(client: Client, request_id: str = "r1") -> Closing:
    [(entry, fields)] = client.xrevrange(NAMES.reply(request_id), count=1)
    assert int(entry.partition(b"-")[0]) % 1_000_000_000 == CLOSING
    return msgspec.json.decode(fields[b"event"], type=Closing)


async def test_forward_moves_the_event_with_its_line(link: Link, client: Client) -> None:
    lease = Lease(deployment="p/m", key="p:12345678")
    async with desk(link, client) as here:
        run = here.deliver("gate", make_event(plan=(Candidate(deployment="p/m"),)))
        await here.carry((run, Forward(msgspec.structs.replace(run.event, lease=lease), "call")))
    assert client.xlen(NAMES.hop("gate")) == 0
    assert client.xpending(NAMES.hop("gate"), "gate")["pending"] == 0
    moved = last_event(client, "call")
    assert (moved.status, moved.lease) == ("running", lease)
    [line] = moved.journal
    assert (line.hop, line.delivery) == ("gate", 1)
    assert line.start <= line.end


async def test_the_record_hears_of_the_call_and_of_every_line(link: Link, client: Client) -> None:
    lease = Lease(deployment="p/m")
    async with desk(link, client) as here:
        run = here.deliver("requests:default", make_event())
        await here.carry((run, Forward(run.event, "gate")))
        run = here.read("gate")
        await here.carry((run, Forward(msgspec.structs.replace(run.event, lease=lease), "call")))
    fields = record(client)
    assert (fields[b"status"], fields[b"deployment"]) == (b"running", b"p/m")
    assert float(fields[b"started"]) > 1e9
    hops = [msgspec.json.decode(fields[name])["hop"] for name in (b"1", b"2")]
    assert hops == ["route", "gate"]


async def test_a_request_entry_is_kept_and_no_longer_pending(link: Link, client: Client) -> None:
    async with desk(link, client) as here:
        run = here.deliver("requests:high", make_event())
        await here.carry((run, Forward(run.event, "gate")))
    assert client.xlen(NAMES.requests["high"]) == 1
    assert client.xpending(NAMES.requests["high"], "route")["pending"] == 0
    assert last_event(client, "gate").status == "queued"


async def test_a_wait_is_parked_until_it_is_woken(link: Link, client: Client) -> None:
    async with desk(link, client) as here:
        run = here.deliver("gate", make_event())
        await here.carry((run, Wait(run.event)))
    parked = events.decode(client.hget(NAMES.parked, "r1"))
    assert parked.status == "waiting"
    assert client.xlen(NAMES.hop("gate")) == 0
    assert b"waiting_since" in record(client)


async def test_who_was_woken_before_it_parked_does_not_park(link: Link, client: Client) -> None:
    client.hset(NAMES.woken, "r1", "1.0")
    async with desk(link, client) as here:
        run = here.deliver("gate", make_event())
        await here.carry((run, Wait(run.event)))
    assert ids(client, "gate") == ["r1"]
    assert not client.exists(NAMES.parked)


async def test_the_end_closes_the_reply_and_sets_every_time_to_live(
    link: Link, client: Client
) -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    ended = make_event(
        session="s1", body=events.NO_BODY, body_bytes=9999, deltas=4, generation=7, usage=usage
    )
    client.set(NAMES.body("r1"), "large")
    client.rpush(NAMES.session("s1"), "r1")
    async with desk(link, client) as here:
        run = here.deliver("respond", ended)
        await here.carry((run, Finish(run.event)))
    assert closing_of(client) == Closing(status="completed", deltas=4, generation=7, usage=usage)
    done = last_event(client, "done")
    assert (done.status, done.has_body) == ("completed", False)
    assert client.xlen(NAMES.dead) == 0
    kept = {
        NAMES.record("r1"): rig.KEPT.replies_s,
        NAMES.reply("r1"): rig.KEPT.replies_s,
        NAMES.session("s1"): rig.KEPT.replies_s,
        NAMES.body("r1"): rig.KEPT.events_s,
    }
    assert {key: client.ttl(key) for key in kept} == pytest.approx(kept, abs=2)


async def test_the_body_of_a_finished_request_does_not_stay_in_done(
    link: Link, client: Client
) -> None:
    async with desk(link, client) as here:
        run = here.deliver("respond", make_event())
        await here.carry((run, Finish(run.event)))
    assert not last_event(client, "done").has_body


async def test_a_death_leaves_a_letter_with_body_and_cause(link: Link, client: Client) -> None:
    async with desk(link, client) as here:
        run = here.deliver("call", make_event())
        await here.carry((run, Die(run.event, FAILURE)))
    letter = last_event(client, "dead")
    assert (letter.failure, bytes(letter.body)) == (FAILURE, rig.BODY)
    assert last_event(client, "done").failure == FAILURE
    assert closing_of(client).failure == FAILURE
    fields = record(client)
    assert fields[b"status"] == b"failed"
    assert msgspec.json.decode(fields[b"failure"], type=Failure) == FAILURE


async def test_a_cancelled_request_ends_as_cancelled(link: Link, client: Client) -> None:
    async with desk(link, client) as here:
        run = here.deliver("call", make_event())
        await here.carry((run, Die(run.event, Failure(message="no more", cause="cancelled"))))
    assert closing_of(client).status == "cancelled"


OUTCOMES: list[Outcome] = [
    Forward(make_event(), "call"),
    Wait(make_event()),
    Finish(make_event()),
    Die(make_event(), FAILURE),
]


def everything_but_the_source(client: Client) -> dict[bytes, bytes]:
    keys = [key for key in client.keys("*") if key not in (b"t:gate", b"t:counters")]
    return {key: client.dump(key) for key in keys}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
async def test_an_entry_that_another_has_claimed_is_refused_and_nothing_written(
    link: Link, client: Client, outcome: Outcome
) -> None:
    async with desk(link, client) as here:
        run = here.deliver("gate", make_event())
        client.xclaim(NAMES.hop("gate"), "gate", "other", 0, [run.source.entry])
        before = everything_but_the_source(client)
        await here.carry((run, outcome))
    assert everything_but_the_source(client) == before
    assert counter(client, "refused") == 1
    assert client.xpending(NAMES.hop("gate"), "gate")["consumers"] == [
        {"name": b"other", "pending": 1}
    ]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
async def test_an_outcome_asked_twice_is_carried_out_once(
    link: Link, client: Client, outcome: Outcome
) -> None:
    async with desk(link, client) as here:
        run = here.deliver("gate", make_event())
        await here.carry((run, outcome))
        before = everything_but_the_source(client)
        again = here.holdings.hold(run.source, run.event)
        await here.carry((again, outcome))
    assert everything_but_the_source(client) == before
    assert counter(client, "refused") == 1


async def test_of_a_batch_only_the_refused_are_left_out(link: Link, client: Client) -> None:
    async with desk(link, client) as here:
        runs = [here.deliver("gate", make_event(f"r{n}")) for n in range(20)]
        for run in runs[::3]:
            client.xclaim(NAMES.hop("gate"), "gate", "other", 0, [run.source.entry])
        await here.carry(*((run, Forward(run.event, "call")) for run in runs))
    assert ids(client, "call") == [f"r{n}" for n in range(20) if n % 3]
    assert ids(client, "gate") == [f"r{n}" for n in range(0, 20, 3)]
    assert counter(client, "refused") == 7
    assert here.carrier.refused == {"gate": 7}


async def test_a_batch_may_hold_every_kind_of_outcome(link: Link, client: Client) -> None:
    async with desk(link, client) as here:
        runs = [here.deliver("gate", make_event(f"r{n}")) for n in range(4)]
        kinds = [
            msgspec.structs.replace(outcome, event=run.event)
            for run, outcome in zip(runs, OUTCOMES, strict=True)
        ]
        await here.carry(*zip(runs, kinds, strict=True))
    assert ids(client, "call") == ["r0"]
    assert client.hkeys(NAMES.parked) == [b"r1"]
    assert ids(client, "done") == ["r2", "r3"]
    assert ids(client, "dead") == ["r3"]
    assert counter(client, "refused") == 0


async def test_a_repeated_request_of_a_producer_is_answered_once(
    link: Link, client: Client
) -> None:
    twice = make_event(direct=True, session="s1")
    async with desk(link, client) as here:
        for _ in range(2):
            run = here.deliver("requests:default", twice)
            await here.carry((run, Forward(run.event, "gate")))
    assert ids(client, "gate") == ["r1"]
    assert counter(client, "duplicates") == 1
    assert client.lrange(NAMES.session("s1"), 0, -1) == [b"r1"]
    assert client.xpending(NAMES.requests["default"], "route")["pending"] == 0


async def test_a_producers_request_joins_its_session_as_one_over_http_does(
    link: Link, client: Client
) -> None:
    await Ingress(link, NAMES).accept(make_event("http", session="s1"), rig.BODY)
    async with desk(link, client) as here:
        for run in (
            here.read("requests:default"),
            here.deliver("requests:default", make_event("direct", direct=True, session="s1")),
        ):
            await here.carry((run, Die(run.event, FAILURE)))
    assert client.lrange(NAMES.session("s1"), 0, -1) == [b"http", b"direct"]
    turns = [client.xrange(NAMES.reply(name))[0][0] for name in ("http", "direct")]
    assert turns == [b"1999999999-0", b"2999999999-0"]
    assert counter(client, "duplicates") == 0


async def test_a_transition_brings_along_what_it_made(link: Link, client: Client) -> None:
    rig.make_group(client, "call", "call")
    async with desk(link, client) as here:
        run = here.deliver("gate", make_event())
        await here.carry((run, Forward(run.event, "call")))
    [(stream, [(_, fields)])] = here.taken
    assert stream == b"t:call"
    assert events.decode(fields[1]).id == "r1"
    assert client.xpending(NAMES.hop("call"), "call")["consumers"] == [
        {"name": b"me", "pending": 1}
    ]


async def test_no_more_is_brought_along_than_there_is_room_for(link: Link, client: Client) -> None:
    rig.make_group(client, "call", "call")
    async with desk(link, client) as here:
        runs = [here.deliver("gate", make_event(f"r{n}")) for n in range(5)]
        for n in range(998):
            busy: Event = make_event(f"busy{n}")
            here.holdings.hold(Source("call", "call", f"{n}-0"), busy)
        await here.carry(*((run, Forward(run.event, "call")) for run in runs))
    assert sum(len(entries) for _, entries in here.taken) == 2


async def test_the_closing_reaches_the_inboxes_with_the_response_for_whom_it_is_asked(
    link: Link, client: Client
) -> None:
    for name in ("plain", "whole"):
        client.xadd(NAMES.inbox(name), {"hello": 1})
    await Ingress(link, NAMES).accept(make_event(), rig.BODY, inbox="plain whole+")
    async with desk(link, client) as here:
        run = here.deliver("call", make_event())
        await here.carry((run, Forward(run.event, "respond", response=b'{"id":"x"}')))
        run = here.read("respond")
        await here.carry((run, Finish(run.event)))
    frames = {
        name: client.xrevrange(NAMES.inbox(name), count=1)[0][1][b"r1"].split(b"\n")
        for name in ("plain", "whole")
    }
    assert frames["plain"][0] == frames["whole"][0] == b"1999999999-0"
    assert frames["plain"][2:] == []
    assert frames["whole"][2:] == [b'{"id":"x"}']


async def test_a_full_redis_lets_what_was_accepted_end(link: Link, client: Client) -> None:
    async with desk(link, client) as here:
        run = here.deliver("call", make_event())
        client.config_set("maxmemory", 1)
        try:
            await here.carry((run, Die(run.event, FAILURE)))
        finally:
            client.config_set("maxmemory", 0)
    assert ids(client, "dead") == ["r1"]


async def test_an_outcome_that_redis_refuses_for_a_time_is_not_lost(
    link: Link, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(link, client) as here:
        run = here.deliver("call", make_event())
        # A stand-in for a full disk or a new master: every write is refused.
        client.config_set("min-replicas-to-write", 1)
        try:
            here.carrier.land(run, Finish(run.event))
            await rig.until(lambda: "Redis refused an outcome" in caplog.text)
        finally:
            client.config_set("min-replicas-to-write", 0)
        await rig.until(lambda: client.xlen(NAMES.done))
    assert ids(client, "done") == ["r1"]


async def test_what_was_routed_is_not_routed_again_by_a_group_made_anew(
    redis_url: str, client: Client
) -> None:
    async with rig.linked(redis_url) as link:
        ingress = Ingress(link, NAMES)
        await ingress.accept(make_event("r1"), b'{"model":"m"}')

        async def routed_once(event: Event) -> Outcome:
            return Forward(event, "gate")

        async def held(_event: Event) -> Outcome:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        hops = {"route": routed_once, "gate": held, "call": held, "respond": held}
        async with rig.crew(redis_url, hops):
            await rig.until(lambda: client.hget(NAMES.record("r1"), "routed"))
            client.xgroup_destroy(NAMES.requests["default"], "route")
            await rig.until(lambda: counter(client, "duplicates") == 1)
            assert client.xlen(NAMES.hop("gate")) == 1
