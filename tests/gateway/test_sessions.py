"""Streams of a session: many readers, late readers, resuming, following."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from tests.gateway.conftest import House, StartHouse
from tests.gateway.test_plain import finished, frames
from tests.waiting import eventually


def begin(house: House, session: str, model: str = "sim/echo", user: str = "") -> str:
    """Send a task in a session; gives its id."""
    body = {"message": "Hi", "model": model, "session_id": session, "user": user}
    return str(house.ask("POST", "/chat/async", body).json["task_id"])


def text(body: bytes) -> str:
    return "".join(str(frame.get("content", "")) for frame in frames(body))


def ids(body: bytes) -> list[str]:
    return [line[4:].decode() for line in body.split(b"\n") if line.startswith(b"id: ")]


def test_a_late_reader_gets_the_whole_past(house: House) -> None:
    finished(house, begin(house, "late"))
    for _ in range(2):
        answer = house.ask("GET", "/stream/late")
        assert text(answer.body) == "Hello, world!"
        assert frames(answer.body)[-1]["type"] == "complete"


def test_many_readers_hear_the_same_at_once_and_late_ones_too(house: House) -> None:
    begin(house, "many", "sim/slow", "many")
    with ThreadPoolExecutor(20) as pool:
        early = [pool.submit(house.ask, "GET", "/stream/many") for _ in range(10)]
        time.sleep(0.2)
        late = [pool.submit(house.ask, "GET", "/stream/many") for _ in range(10)]
        time.sleep(0.1)
        house.go("many")
        bodies = {future.result().body for future in [*early, *late]}
    assert len(bodies) == 1
    assert text(bodies.pop()) == "Hello, world!"


@pytest.mark.parametrize("by_header", [True, False])
def test_a_reader_resumes_behind_any_frame(house: House, by_header: bool) -> None:
    session = f"resume-{by_header}"
    finished(house, begin(house, session))
    whole = house.ask("GET", f"/stream/{session}").body
    for place, after in enumerate(ids(whole)[:-1], 1):
        if by_header:
            rest = house.ask("GET", f"/stream/{session}", None, {"Last-Event-ID": after})
        else:
            rest = house.ask("GET", f"/stream/{session}?after={after}")
        assert rest.status == 200
        assert frames(rest.body) == frames(whole)[place:]


def test_a_reader_that_has_read_all_is_told_not_to_come_back(house: House) -> None:
    finished(house, begin(house, "all"))
    last = ids(house.ask("GET", "/stream/all").body)[-1]
    answer = house.ask("GET", "/stream/all", None, {"Last-Event-ID": last})
    assert (answer.status, answer.body) == (204, b"")


def test_the_latest_turn_is_shown_and_resuming_in_an_earlier_one_goes_through_all(
    house: House,
) -> None:
    for _ in range(3):
        finished(house, begin(house, "turns"))
    latest = house.ask("GET", "/stream/turns")
    assert len(frames(latest.body)) == 5
    assert all(each.startswith("3") for each in ids(latest.body))
    from_first = house.ask("GET", "/stream/turns?after=1999999999-0")
    assert [each[0] for each in ids(from_first.body)] == ["2"] * 5 + ["3"] * 5


def test_a_turn_that_is_gone_is_a_gap_and_not_silence(house: House, client: redis.Redis) -> None:
    first = begin(house, "gap")
    finished(house, first)
    finished(house, begin(house, "gap"))
    client.delete(f"sluice:request:{first}", f"sluice:reply:{first}")
    answer = house.ask("GET", "/stream/gap?after=1000000001-1")
    assert answer.body.startswith(b'event: gap\ndata: {"type":"gap"}\n\n')
    assert text(answer.body) == "Hello, world!"


def test_a_hole_in_a_reply_is_a_gap(house: House, client: redis.Redis) -> None:
    task_id = begin(house, "hole")
    finished(house, task_id)
    client.xdel(f"sluice:reply:{task_id}", "1000000001-3")
    answer = house.ask("GET", "/stream/hole")
    assert b"event: gap" in answer.body
    assert text(answer.body) == "Helloworld!"


def test_a_failed_turn_ends_with_its_error(house: House) -> None:
    finished(house, begin(house, "failed", "sim/overloaded"))
    shown = frames(house.ask("GET", "/stream/failed").body)
    assert [frame["type"] for frame in shown] == ["error"]


def test_a_reader_that_follows_hears_the_next_turns(start_house: StartHouse) -> None:
    house = start_house(pace='{"follow_s":0.05,"ping_s":0.1,"grace_s":0.2}')
    begin(house, "follow")
    with house.open("GET", "/stream/follow?follow=true") as answer:
        lines = iter(answer.readline, b"")
        assert until_complete(lines) == 5
        threading.Timer(0.3, begin, [house, "follow"]).start()
        assert until_complete(lines) == 5
        house.process.process.terminate()
        rest = b"".join(lines)
    assert frames(rest)[-1]["type"] == "error"
    assert house.process.wait() == 0


def until_complete(lines: Iterator[bytes]) -> int:
    """Count the frames up to the one that completes an answer."""
    count = 0
    for line in lines:
        count += line.startswith(b"data: ")
        if b'"complete"' in line:
            return count
    raise AssertionError("the stream ended")


def test_a_follower_that_goes_away_is_let_go(house: House) -> None:
    begin(house, "gone")
    before = open_sockets(house)
    with house.open("GET", "/stream/gone?follow=true") as answer:
        answer.readline()
    eventually(lambda: open_sockets(house) <= before)


def open_sockets(house: House) -> int:
    folder, found = Path(f"/proc/{house.process.pid}/fd"), 0
    for each in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += "socket" in str(each.readlink())
    return found


def test_an_unknown_session_and_a_bad_place_are_refused(house: House) -> None:
    answer = house.ask("GET", "/stream/nobody")
    assert (answer.status, answer.error["code"]) == (404, "request_not_found")
    assert house.ask("GET", "/stream/nobody?follow=true").status == 404
    finished(house, begin(house, "known"))
    assert house.ask("GET", "/stream/known?after=x").status == 400
