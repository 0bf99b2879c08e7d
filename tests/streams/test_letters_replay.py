"""Replaying dead letters: once, from the beginning, under the same id if nothing was delivered."""

import asyncio
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline.outcome import Finish, Forward
from pipeline.streams.callbacks import Callbacks
from pipeline.streams.dead.changes import Changes
from pipeline.streams.dead.redriving import MAX_BATCH
from pipeline.streams.link import Link
from tests.streams import rig
from tests.streams.graves import (
    ALL,
    bury,
    bury_malformed,
    lane_events,
    large_body,
    last_lane_event,
    letters_of,
    record,
)  # fmt: skip
from tests.streams.rig import NAMES, Client
from tests.wire import Wire

pytestmark = pytest.mark.anyio


async def test_a_replayed_letter_begins_anew_under_its_own_id(link: Link, client: Client) -> None:
    before = clock.now()
    dying = rig.make_event(
        "r1", tenant="acme", user="u", priority=5, session="s", deadline=before + 9, reply_to="cb"
    )
    [letter] = await bury(link, client, dying)
    [told] = await letters_of(link).replay([letter])
    assert (told.state, told.id, told.replayed_as) == ("replayed", "r1", "r1")
    assert await letters_of(link).count() == 0
    entry, event = last_lane_event(client, "high")
    expected = rig.make_event(
        "r1", tenant="acme", user="u", priority=5, session="s", reply_to="cb",
        created=event.created, patient=True, leg=2, undecided=True,
    )  # fmt: skip
    assert event == expected
    assert event.created >= before
    found = record(client, "r1")
    assert float(found.pop("created")) == pytest.approx(event.created, abs=1e-5)
    assert found == {
        "entry": entry, "turn": "1", "inboxes": "", "status": "queued", "model": "m",
        "operation": "chat", "priority": "5", "session": "s", "tenant": "acme", "user": "u",
        "leg": "2", "letter": letter.entry, "replays": "1", "first_created": "1.000000",
    }  # fmt: skip
    assert client.ttl(NAMES.record("r1")) == client.ttl(NAMES.session("s")) == -1
    assert not client.exists(NAMES.reply("r1"))


async def test_a_replayed_letter_is_answered_like_any_request(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1", session="s"))
    client.hset(NAMES.record("r1"), "callback", "written")
    await letters_of(link).replay([letter])
    async with rig.desk(link, client) as desk:
        routed = desk.read("requests:default")
        await desk.carry((routed, Forward(routed.event, "gate")))
        gated = desk.read("gate")
        await desk.carry((gated, Finish(gated.event)))
    found = record(client, "r1")
    assert found["status"] == "completed"
    assert "failure" not in found
    assert "callback" not in found
    assert client.lrange(NAMES.session("s"), 0, -1) == [b"r1"]
    [(_, fields)] = client.xrange(NAMES.reply("r1"))
    assert msgspec.json.decode(fields[b"event"])["status"] == "completed"
    assert rig.ids(client, "done") == ["r1", "r1"]
    assert rig.counter(client, "duplicates") == 0


@pytest.mark.parametrize("told_late", [False, True])
async def test_a_failure_that_is_told_late_does_not_silence_the_success(
    link: Link, client: Client, told_late: bool
) -> None:
    [letter] = await bury(link, client, rig.make_event("r1", reply_to="back"))
    failed = rig.last_event(client, "done")
    callbacks = Callbacks(link, NAMES, 100)
    if not told_late:
        await callbacks.deliver(failed)
    await letters_of(link).replay([letter])
    await callbacks.deliver(failed)
    async with rig.desk(link, client) as desk:
        routed = desk.read("requests:default")
        await desk.carry((routed, Finish(routed.event)))
    for _ in range(2):
        await callbacks.deliver(rig.last_event(client, "done"))
        await callbacks.deliver(failed)
    results = [msgspec.json.decode(fields[b"event"]) for _, fields in client.xrange("back")]
    assert [result["status"] for result in results] == ["error", "success"]


async def test_a_replay_and_its_repetition_make_one_request(link: Link, client: Client) -> None:
    letters = letters_of(link)
    made = await bury(link, client, rig.make_event("r1"), rig.make_event("r2", deltas=1))
    count = len(lane_events(client))
    first = await letters.replay(made)
    again = await letters.replay(made)
    assert [told.state for told in first] == ["replayed", "replayed"]
    assert [told.state for told in again] == ["repeated", "repeated"]
    assert [told.replayed_as for told in again] == [told.replayed_as for told in first]
    assert len(lane_events(client)) == count + 2


async def test_a_replay_whose_answer_is_lost_is_told_as_done(
    redis_url: str, link: Link, client: Client
) -> None:
    dying = [rig.make_event(f"r{n}", deltas=n % 2) for n in range(6)]
    made = await bury(link, client, *dying)
    # Redis has to know the script: what is stolen is the answer of a replay, not a question for it.
    await letters_of(link).replay(made[:1])
    before = len(lane_events(client))
    with Wire(urlsplit(redis_url).port or 0) as wire:
        async with rig.linked(wire.url) as shaky:
            wire.rob()
            told = await letters_of(shaky).replay(made[1:])
        assert wire.thefts == 1
    assert [each.state for each in told] == ["replayed"] * 5
    assert [event.id for _, event in lane_events(client)[before:]] == [t.replayed_as for t in told]


@pytest.mark.parametrize("batches", [0, 1, 2])
async def test_a_replay_that_was_cut_off_is_gone_on_with(
    redis_url: str, link: Link, client: Client, batches: int
) -> None:
    """Its process dies with a batch done and the answer lost, then it is all said once more."""
    dying = [rig.make_event(f"r{n}", deltas=n % 2) for n in range(3 * MAX_BATCH)]
    made = await bury(link, client, *dying)
    before = len(lane_events(client))
    with Wire(urlsplit(redis_url).port or 0) as wire:
        async with rig.linked(wire.url) as dead:
            await letters_of(dead).replay(made[: batches * MAX_BATCH])
            wire.rob()
            replaying = asyncio.create_task(letters_of(dead).replay(made))
            await rig.until(lambda: wire.thefts, "the answer is lost")
            replaying.cancel()
            await asyncio.gather(replaying, return_exceptions=True)
    told = await letters_of(link).replay(made)
    assert {each.state for each in told} <= {"replayed", "repeated"}
    events_now = [event for _, event in lane_events(client)[before:]]
    origins = [event.replay_of or event.id for event in events_now]
    assert sorted(origins) == sorted(event.id for event in dying)
    assert sorted(each.replayed_as for each in told) == sorted(event.id for event in events_now)
    assert await letters_of(link).count() == 0


async def test_what_was_delivered_in_part_gets_an_id_of_its_own(link: Link, client: Client) -> None:
    [letter] = await bury(
        link, client, rig.make_event("r1", deltas=3, session="s"), body=large_body()
    )
    [told] = await letters_of(link).replay([letter])
    _, event = last_lane_event(client)
    assert event.id == told.replayed_as != "r1"
    assert (event.replay_of, event.deltas, event.leg) == ("r1", 0, 1)
    assert record(client, event.id)["replay_of"] == "r1"
    assert record(client, event.id)["turn"] == "2"
    old = record(client, "r1")
    assert (old["status"], old["replayed_as"]) == ("failed", event.id)
    assert client.ttl(NAMES.record("r1")) > 0
    assert client.exists(NAMES.reply("r1"))
    assert client.get(NAMES.body(event.id)) == client.get(NAMES.body("r1")) == large_body()
    assert client.ttl(NAMES.body(event.id)) == -1 < client.ttl(NAMES.body("r1"))


@pytest.mark.parametrize("status", ["queued", "running", "retrying", "completed"])
async def test_an_id_that_is_taken_is_left_alone(link: Link, client: Client, status: str) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"))
    client.hset(NAMES.record("r1"), "status", status)
    [told] = await letters_of(link).replay([letter])
    assert told.state == "replayed"
    assert told.replayed_as != "r1"
    assert record(client, "r1")["status"] == status
    assert record(client, told.replayed_as)["replay_of"] == "r1"


async def test_a_large_body_is_kept_for_as_long_as_it_takes(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"), body=large_body())
    assert client.ttl(NAMES.body("r1")) > 0
    await letters_of(link).replay([letter])
    assert client.ttl(NAMES.body("r1")) == -1
    assert not last_lane_event(client)[1].has_body


async def test_an_expired_record_is_made_anew(link: Link, client: Client) -> None:
    made = await bury(
        link, client, rig.make_event("r1", session="s"), rig.make_event("r2", deltas=1)
    )
    client.delete(NAMES.record("r1"), NAMES.record("r2"), NAMES.reply("r1"), NAMES.session("s"))
    told = await letters_of(link).replay(made)
    assert [each.state for each in told] == ["replayed", "replayed"]
    assert record(client, "r1")["status"] == "queued"
    assert record(client, "r1")["turn"] == "1"
    assert not client.exists(NAMES.record("r2"))
    again = await letters_of(link).replay(made)
    assert [each.state for each in again] == ["repeated", "gone"]


async def test_without_its_body_a_letter_is_refused_and_kept(link: Link, client: Client) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"), body=large_body())
    client.delete(NAMES.body("r1"))
    count = len(lane_events(client))
    for changes in (None, Changes(fields={"temperature": 0})):
        [told] = await letters_of(link).replay([letter], changes=changes)
        assert told.state == "refused"
        assert letter.entry in told.why
        assert "edit it with a new body" in told.why
    assert await letters_of(link).find("r1") == letter
    assert len(lane_events(client)) == count


async def test_a_malformed_entry_is_refused_and_kept(link: Link, client: Client) -> None:
    letter = await bury_malformed(link, client, b'{"model":"m","priority":99,"prompt":"hi"}')
    [told] = await letters_of(link).replay([letter])
    assert told.state == "refused"
    assert "`priority` is 99" in told.why
    assert "edit it first" in told.why
    assert await letters_of(link).count() == 1


async def test_one_that_is_refused_holds_up_no_other(link: Link, client: Client) -> None:
    bad = await bury_malformed(link, client, b"[]")
    good = await bury(link, client, rig.make_event("r1"), rig.make_event("r2"))
    told = await letters_of(link).replay([good[0], bad, good[1]])
    assert [each.state for each in told] == ["replayed", "refused", "replayed"]


async def test_a_replay_can_change_what_it_replays(link: Link, client: Client) -> None:
    made = await bury(link, client, rig.make_event("r1"), rig.make_event("r2", deltas=1))
    changes = Changes(fields={"model": "quality", "priority": 3, "temperature": 0})
    told = await letters_of(link).replay(made, changes=changes)
    for _, event in lane_events(client, "high"):
        assert (event.model, event.priority) == ("quality", 3)
        assert msgspec.json.decode(event.body)["temperature"] == 0
        assert record(client, event.id)["model"] == "quality"
    assert [event.id for _, event in lane_events(client, "high")] == [t.replayed_as for t in told]
    [note] = msgspec.json.decode(record(client, "r1")["edits"])
    assert note["changed"] == ["model", "priority", "temperature"]


@pytest.mark.parametrize("holder", ["r1", "r9", ""])
async def test_an_idempotency_key_stays_with_its_request(
    link: Link, client: Client, holder: str
) -> None:
    [letter] = await bury(link, client, rig.make_event("r1"))
    client.hset(NAMES.record("r1"), "idempotency", "k")
    if holder:
        client.hset(NAMES.idempotency("k"), mapping={"id": holder, "fingerprint": "f"})
        client.expire(NAMES.idempotency("k"), 100)
    await letters_of(link).replay([letter])
    assert record(client, "r1").get("idempotency") == ("k" if holder == "r1" else None)
    ttl = {"r1": -1, "r9": 100, "": -2}[holder]
    assert client.ttl(NAMES.idempotency("k")) == ttl


async def test_a_full_redis_keeps_the_letters(link: Link, client: Client) -> None:
    made = await bury(link, client, rig.make_event("r1"), rig.make_event("r2"))
    client.config_set("maxmemory", 1)
    try:
        told = await letters_of(link).replay(made)
    finally:
        client.config_set("maxmemory", 0)
    assert {each.state for each in told} == {"refused"}
    assert "Redis refused" in told[0].why
    assert record(client, "r1")["status"] == "failed"
    assert [each.state for each in await letters_of(link).replay(made)] == ["replayed"] * 2


async def test_letters_are_replayed_in_bounded_batches(link: Link, client: Client) -> None:
    dying = [rig.make_event(f"r{n}") for n in range(MAX_BATCH + 1)]
    made = await bury(link, client, *dying)
    await letters_of(link).replay(made[:1])
    client.config_resetstat()
    await letters_of(link).replay(made)
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 2


replays = st.lists(st.lists(st.integers(0, 4), max_size=6), max_size=5)


@rig.law(30)
@given(deltas=st.lists(st.integers(0, 1), min_size=5, max_size=5), replays=replays)
async def test_however_often_it_is_said_each_letter_is_replayed_once(
    link: Link, client: Client, deltas: list[int], replays: list[list[int]]
) -> None:
    client.flushdb()
    dying = [rig.make_event(f"r{n}", deltas=count) for n, count in enumerate(deltas)]
    made = await bury(link, client, *dying)
    before = len(lane_events(client))
    letters = letters_of(link)
    await asyncio.gather(*(letters.replay([made[n] for n in numbers]) for numbers in replays))
    wanted = {f"r{n}" for numbers in replays for n in numbers}
    origins = [event.replay_of or event.id for _, event in lane_events(client)[before:]]
    assert sorted(origins) == sorted(wanted)
    left = {letter.id for letter in (await letters.scan(ALL)).letters}
    assert left == {event.id for event in dying} - wanted
