"""What is known of a replay while it goes on and after its end, and when there is nothing to do."""

import pytest

from pipeline import clock
from pipeline.errors import RequestNotFound
from pipeline.streams.past import replaying, replays
from pipeline.streams.past.replaying import Replay
from tests.streams.pasts import asked, begun, past, produced, replayed, run
from tests.streams.rig import NAMES, Client


def test_a_finished_replay_is_known_for_a_day(client: Client) -> None:
    past(client, "r1")
    replay = begun(client)
    key = NAMES.replay(replay.progress.name)
    assert client.ttl(key) > 86_400
    while replay.step():
        pass
    assert 0 < client.ttl(key) <= 86_400
    assert 0 < client.ttl(f"{key}:taken") <= 86_400
    [known] = replays.known(client, NAMES)
    assert known == replay.progress
    assert (known.share, known.finished > 0) == (1.0, True)
    client.delete(key)
    assert replays.known(client, NAMES) == []
    assert not client.exists(NAMES.replays)


def test_nothing_to_replay_ends_at_once(client: Client) -> None:
    replay = begun(client)
    assert not replay.step()
    assert replay.progress.finished
    assert replay.progress.seen == 0


def test_a_replay_that_is_not_known_any_more_says_so(client: Client) -> None:
    past(client, "r1")
    replay = begun(client)
    client.flushdb()
    with pytest.raises(RequestNotFound):
        replay.step()
    assert client.keys() == []


def test_a_dry_run_counts_the_same_and_leaves_no_trace(client: Client) -> None:
    for number in range(100):
        past(client, f"r{number}", status="failed" if number % 3 else "completed")
    produced(client, "p1")
    [*_, (_, fields)] = client.xrange(NAMES.done)
    client.xadd(NAMES.done, fields)
    client.xtrim(NAMES.requests["default"], maxlen=50, approximate=False)
    before = {key: client.dump(key) for key in client.keys("*")}
    for changes in ({}, {"status": "failed"}, {"limit": 7}):
        progress = replays.begin(client, NAMES, asked(**changes), dry_run=True)
        dry = Replay(client, NAMES, progress)
        dry.rehearse()
        assert {key: client.dump(key) for key in client.keys("*")} == before
        counts = ("matched", "replayed", "repeated", "without_body")
        told = [getattr(dry.progress, count) for count in counts]
        name = begun(client, **changes)
        while name.step():
            pass
        assert [getattr(name.progress, count) for count in counts] == told
        for key in client.keys("*"):
            if key not in before:
                client.delete(key)
        for number in range(100):
            client.hdel(NAMES.record(f"r{number}"), "replayed_as")


def test_a_clock_ahead_of_redis_hides_no_event(client: Client) -> None:
    client.set(NAMES.clock, 86_400)
    clock.follow(clock.now() + 86_400)
    try:
        past(client, "r1")
        assert run(client).replayed == 1
    finally:
        clock.follow(clock.now() - 86_400)


def test_a_replay_does_not_meet_what_comes_of_it(client: Client) -> None:
    past(client, "r1")
    replay = begun(client, until=clock.now() + 9999)
    past(client, "later")
    while replay.step():
        pass
    assert [new.replay_of for new in replayed(client)] == ["r1"]


def test_much_that_waits_for_capacity_holds_a_replay_back(client: Client) -> None:
    replay = begun(client)
    assert not replay.is_held_back()
    client.hset(NAMES.parked, mapping={str(n): "x" for n in range(replaying.MAX_WAITING)})
    assert replay.is_held_back()
    assert replay.is_held_back(10 * replaying.MAX_WAITING)
    client.hdel(NAMES.parked, "0")
    assert not replay.is_held_back()
    assert replay.is_held_back(5)
