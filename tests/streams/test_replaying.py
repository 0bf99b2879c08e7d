"""Replay: each past event once, with its body, linked; cut anywhere, it goes on where it was."""

import json
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline import event as events
from pipeline.errors import Failure
from pipeline.event import Candidate, Event, Lease, Line, Usage
from pipeline.streams.batch import MAX_BYTES
from pipeline.streams.past import replays
from pipeline.streams.past.replaying import Replay
from tests.streams import rig
from tests.streams.pasts import LARGE, begun, end, past, produced, replayed, run
from tests.streams.rig import NAMES, Client


def test_a_past_event_comes_again_as_a_new_one_linked_to_it(client: Client) -> None:
    journal = (Line(hop="route", start=1, end=2),)
    old = past(
        client,
        "r1",
        stream=True,
        include_usage=True,
        tenant="acme",
        user="bob",
        token="3fa9c1d2",
        session="talk",
        reply_to="back",
        metadata=msgspec.Raw(b'{"mine":1}'),
        prompt_tokens=7,
        output_tokens=9,
        priority=5,
        status="failed",
        deadline=99.0,
        traceparent="00-a",
        leg=3,
        climbed=(60, 600),
        plan=(Candidate(deployment="a/b"),),
        tried=("a/b",),
        lease=Lease(deployment="a/b"),
        attempts=4,
        deltas=2,
        generation=3,
        usage=Usage(total_tokens=3),
        failure=Failure(message="no"),
        journal=journal,
    )
    progress = run(client)
    [new] = replayed(client)
    assert new == Event(
        id=new.id,
        model="m",
        body=msgspec.Raw(rig.BODY),
        body_bytes=len(rig.BODY),
        created=new.created,
        stream=True,
        include_usage=True,
        patient=True,
        priority=-10,
        tenant="acme",
        user="bob",
        token="3fa9c1d2",
        session="talk",
        reply_to="back",
        metadata=old.metadata,
        prompt_tokens=7,
        output_tokens=9,
        replay_of="r1",
        undecided=True,
    )
    assert new.created >= old.created
    assert len(new.id) == 32
    assert (progress.seen, progress.matched, progress.replayed) == (1, 1, 1)
    record = client.hgetall(NAMES.record(new.id))
    [(entry, _)] = client.xrange(NAMES.requests["low"])
    assert record[b"entry"] == b"low:" + entry
    assert (record[b"status"], record[b"replay_of"], record[b"turn"]) == (b"queued", b"r1", b"1")
    assert client.hget(NAMES.record("r1"), "replayed_as") == new.id.encode()
    assert client.lrange(NAMES.session("talk"), 0, -1) == [new.id.encode()]


def test_a_large_body_is_copied_and_does_not_expire(client: Client) -> None:
    past(client, "r1", LARGE)
    run(client)
    [new] = replayed(client)
    assert not new.has_body
    assert new.body_bytes == len(LARGE)
    assert client.get(NAMES.body(new.id)) == LARGE
    assert client.ttl(NAMES.body(new.id)) == -1
    assert client.ttl(NAMES.body("r1")) > 0


@pytest.mark.parametrize("size", [1, 2 * events.INLINE_BYTES, 2 * MAX_BYTES])
def test_a_producers_body_is_translated_anew(client: Client, size: int) -> None:
    produced(client, "r1", prompt="x" * size, parameters={"max_output_tokens": 5})
    run(client)
    [new] = replayed(client)
    body = bytes(new.body) if new.has_body else client.get(NAMES.body(new.id))
    assert new.has_body == (size < events.INLINE_BYTES)
    messages = [{"role": "user", "content": "x" * size}]
    assert json.loads(body) == {"model": "m", "messages": messages, "max_tokens": 5}
    assert not new.direct


def test_what_has_no_body_any_more_is_counted(client: Client) -> None:
    past(client, "trimmed")
    client.xtrim(NAMES.requests["default"], maxlen=0)
    past(client, "expired", LARGE)
    client.delete(NAMES.body("expired"))
    past(client, "unknown")
    client.delete(NAMES.record("unknown"))
    past(client, "kept")
    progress = run(client)
    assert [new.replay_of for new in replayed(client)] == ["kept"]
    assert (progress.matched, progress.replayed, progress.without_body) == (4, 1, 3)


def test_an_entry_that_is_another_requests_is_no_body(client: Client) -> None:
    mine, other = past(client, "mine"), past(client, "other")
    assert mine.id != other.id
    client.hset(NAMES.record("mine"), "entry", client.hget(NAMES.record("other"), "entry"))
    assert run(client).without_body == 1


def test_what_cannot_be_read_is_passed_over(client: Client) -> None:
    client.xadd(NAMES.done, {"event": "nonsense"})
    client.xadd(NAMES.done, {"else": "1"})
    past(client, "r1")
    client.xadd(NAMES.requests["default"], {"event": "nonsense"})
    progress = run(client)
    assert (progress.seen, progress.replayed) == (3, 1)


def test_only_what_was_asked_for_comes_again(client: Client) -> None:
    now = clock.now()
    past(client, "old", created=now - 5000)
    past(client, "young", created=now + 100)
    past(client, "model", model="other")
    past(client, "tenant", tenant="acme")
    past(client, "failed", status="failed")
    past(client, "again", replay_of="r0")
    past(client, "shadow", shadow=True)
    past(client, "plain")

    def chosen(**changes: Any) -> list[str]:
        client.delete(NAMES.requests["low"])
        run(client, **changes)
        return [new.replay_of for new in replayed(client)]

    assert chosen() == ["model", "tenant", "failed", "plain"]
    assert chosen(model="other") == ["model"]
    assert chosen(tenant="acme") == ["tenant"]
    assert chosen(status="failed") == ["failed"]
    assert chosen(since=now - 6000, until=now - 4000) == ["old"]
    assert chosen(limit=2) == ["model", "tenant"]


def test_a_request_that_ended_twice_is_taken_once_as_it_ended_last(client: Client) -> None:
    first = past(client, "r1", status="failed")
    end(client, msgspec.structs.replace(first, status="completed"))
    client.hset(NAMES.record("r1"), "status", "completed")
    progress = run(client)
    assert (progress.matched, progress.replayed, progress.superseded) == (2, 1, 1)
    assert run(client, status="failed").replayed == 0


def test_a_request_that_ended_twice_is_taken_once_without_its_record_too(client: Client) -> None:
    produced(client, "r1")
    [(_, fields)] = client.xrange(NAMES.done)
    client.xadd(NAMES.done, fields)
    for most in (1, 64):
        progress = run(client, most=most)
        assert (progress.matched, progress.replayed, progress.repeated) == (2, 1, 1)


def test_what_is_under_way_again_is_left_alone(client: Client) -> None:
    past(client, "r1", status="failed")
    client.hset(NAMES.record("r1"), "status", "running")
    assert run(client).superseded == 1
    assert replayed(client) == []


def test_another_model_and_priority_may_be_asked(client: Client) -> None:
    past(client, "r1")
    run(client, to_model="better", priority=3)
    [new] = replayed(client, "high")
    assert (new.model, new.priority) == ("better", 3)
    assert client.hget(NAMES.record(new.id), "model") == b"better"


def test_a_shadow_belongs_to_nobody(client: Client) -> None:
    past(client, "r1", tenant="acme", user="bob", token="t", session="talk", reply_to="back")
    run(client, shadow=True)
    [new] = replayed(client)
    assert new.shadow
    assert (new.tenant, new.user, new.token, new.session, new.reply_to) == ("", "", "", "", "")
    assert not client.exists(NAMES.session("talk"))
    assert not client.hexists(NAMES.record("r1"), "replayed_as")


def test_two_who_resume_one_replay_double_nothing(client: Client) -> None:
    for number in range(20):
        past(client, f"r{number}")
    one = begun(client)
    two = Replay(client, NAMES, one.progress)
    more = True
    while more:
        more = one.step(3) | two.step(2)
    assert [new.replay_of for new in replayed(client)] == [f"r{number}" for number in range(20)]
    assert one.progress == two.progress
    assert (one.progress.seen, one.progress.matched, one.progress.replayed) == (20, 20, 20)


def test_a_batch_asked_again_after_a_lost_reply_accepts_nothing_twice(client: Client) -> None:
    for number in range(5):
        past(client, f"r{number}")
    before = begun(client)
    Replay(client, NAMES, before.progress).step(3)
    before.step(3)
    while before.step(3):
        pass
    assert [new.replay_of for new in replayed(client)] == [f"r{number}" for number in range(5)]


def test_a_full_redis_takes_nothing_in_and_the_replay_goes_on_later(client: Client) -> None:
    for number in range(10):
        past(client, f"r{number}", LARGE if number % 2 else rig.BODY)
    replay = begun(client)
    replay.step(3)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.RedisError):
            replay.step(3)
    finally:
        client.config_set("maxmemory", 0)
    assert len(replayed(client)) == 3
    again = Replay(client, NAMES, replays.read(client, NAMES, replay.progress.name))
    while again.step():
        pass
    assert [new.replay_of for new in replayed(client)] == [f"r{number}" for number in range(10)]


steps = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=30)


@rig.law(30)
@given(count=st.integers(0, 25), steps=steps, limit=st.integers(0, 10))
def test_cut_anywhere_and_resumed_it_takes_each_once_in_order(
    client: Client, count: int, steps: list[tuple[int, bool]], limit: int
) -> None:
    client.flushdb()
    for number in range(count):
        past(client, f"r{number}")
    replay = begun(client, limit=limit)
    name, more = replay.progress.name, True
    for most, cut in steps:
        if cut:
            replay = Replay(client, NAMES, replays.read(client, NAMES, name))
        if more:
            more = replay.step(most)
    while more:
        more = replay.step()
    expected = [f"r{number}" for number in range(min(count, limit or count))]
    assert [new.replay_of for new in replayed(client)] == expected
    assert len({new.id for new in replayed(client)}) == len(expected)
    assert [bytes(new.body) for new in replayed(client)] == [rig.BODY] * len(expected)
