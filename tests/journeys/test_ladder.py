"""Requests that climb: from rung to rung in real time, through restarts, cancelled and promoted."""

import functools
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from pipeline.streams.scripts import CANCEL, PROMOTE
from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section, kill_family
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Ended, Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_LADDER: Final = [1, 2, 3, 4]
_MESSAGES: Final = [{"role": "user", "content": "hi"}]


def _served_by(model: str, **limits: int) -> Section:
    return {"deployments": [{"provider": "sim", "model": model, "limits": limits}]}


_MODELS: Final[Section] = {
    "down": _served_by("down:error=503"),
    "recovers": _served_by("recovers:error=503,error_first=1,tokens=3"),
    "hinting": _served_by("hinting:error=503,retry_after_ms=2500"),
    "busy": _served_by("busy:error=503,retry_after_ms=2500"),
    "closed": _served_by("closed:error=503,retry_after_ms=60000"),
    "wrong": _served_by("wrong:error=400"),
    "aged": {**_served_by("aged:error=503,error_first=1"), "ladder": [3600]},
    "silent": _served_by("silent:hang"),
    "narrow": _served_by("narrow:hang", concurrency=1),
}
_SECTIONS: Final[dict[str, object]] = {
    "ladder": _LADDER,
    "retry": {"quick": 0},
    # What always fails is to be asked on each leg.
    "providers": {"sim": {"any_model": True, "breaker": {"failures": 0}}},
    "models": _MODELS,
}


@pytest.fixture(scope="module")
def tall_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a house with a ladder of seconds."""
    directory = tmp_path_factory.mktemp("tall")
    with House(directory, redis_binary, {}, **cast("dict[str, Section]", _SECTIONS)) as house:
        yield house.start(workers=2)


@pytest.fixture
def house(request: pytest.FixtureRequest, tall_house: House) -> House:
    """Give that house to the tests of this module."""
    request.node.stash[NURSERY] = tall_house.nursery
    return tall_house


def _ended(house: House, request_id: str, timeout_s: float = 10.0) -> Ended:
    """Wait for the end of a request; it ended once."""
    reckoning = Reckoning(house.client, house.names)
    reckoning.await_end([request_id], timeout_s)
    [event] = [event for event in reckoning.ended() if event["id"] == request_id]
    return event


def _rungs(event: Ended) -> list[object]:
    """List the rungs that an event has climbed to, as its journal tells."""
    facts = [cast("dict[str, object]", line.get("facts", {})) for line in event["journal"]]
    return [fact["rung"] for fact in facts if "rung" in fact]


def _on_rung(house: House, request_id: str) -> int:
    """Wait until a request has climbed; give its rung in seconds."""
    record = house.names.record(request_id)
    return int(eventually(lambda: house.client.hget(record, "rung"), 10.0, "the climb") or 0)


def _is_on(house: House, request_id: str, rung: int) -> bool:
    return house.client.hget(house.names.record(request_id), "rung") == str(rung)


def _cancel(house: House, request_id: str) -> None:
    status, told = house.ask("DELETE", f"/v1/requests/{request_id}")
    assert status in {200, 202}, told
    assert _ended(house, request_id)["status"] == "cancelled"
    assert house.upstream.calls()[request_id] == 1


def _script(house: House, text: str, *args: str) -> object:
    return house.client.eval(text, 1, house.names.rungs, house.names.prefix, *args)


def test_every_process_is_killed_while_two_climb_the_whole_ladder(build_house: BuildHouse) -> None:
    house = build_house(**_SECTIONS).start(workers=2)
    house.xadd([
        {"request_id": "direct", "prompt": "hi", "model": "down", "reply_to": "answers"},
        {"request_id": "well", "prompt": "hi", "model": "fast"},
    ])  # fmt: skip
    later = house.later("down")
    for request_id in (later, "direct"):
        eventually(functools.partial(_is_on, house, request_id, 2), 10.0, "the second rung")
    for name, child in house.nursery.spawned.items():
        if not name.startswith("simulated"):
            kill_family(child)
    house.redis.kill()
    # Long enough for the rung to fall due while nobody is there.
    time.sleep(2.2)
    house.redis.start()
    gateway, workers = house.spawn_gateway(), [house.spawn_worker() for _ in range(2)]
    house.await_gateway(gateway)
    for worker in workers:
        house.await_worker(worker)
    reckoning = Reckoning(house.client, house.names)
    reckoning.check([later, "direct", "well"])
    assert house.upstream.calls() == {later: 5, "direct": 5, "well": 1}
    letters = {event["id"]: event for event in reckoning.ended("dead")}
    assert letters.keys() == {later, "direct"}
    assert all(_rungs(event) == _LADDER for event in letters.values())
    [answer] = eventually(lambda: house.answers("answers"), 10.0, "the callback")
    assert (answer["status"], answer["error_code"]) == ("error", "provider_exhausted")
    assert house.ask("GET", f"/chat/{later}")[1]["status"] == "failed"


def test_an_upstream_that_recovers_answers_on_the_second_leg(house: House) -> None:
    house.xadd([{"request_id": "rec", "prompt": "hi", "model": "recovers", "reply_to": "saved"}])
    later = house.later("recovers")
    for request_id in ("rec", later):
        event = _ended(house, request_id)
        assert (event["status"], event["attempts"], _rungs(event)) == ("completed", 2, [1])
        assert house.upstream.calls()[request_id] == 2
    [answer] = eventually(lambda: house.answers("saved"), 10.0, "the callback")
    assert answer["status"] == "success"


def test_a_retry_count_leaves_out_rungs(house: House) -> None:
    house.xadd([{"request_id": "again", "prompt": "hi", "model": "down", "retry_count": 2}])
    assert _on_rung(house, "again") == 3
    _cancel(house, "again")


def test_a_hint_chooses_the_first_rung_that_is_long_enough(house: House) -> None:
    later = house.later("hinting")
    assert _on_rung(house, later) == 3
    _cancel(house, later)


def test_a_hint_beyond_the_last_rung_ends_it_and_is_told(house: House) -> None:
    later = house.later("closed")
    event = _ended(house, later)
    assert (event["status"], event["attempts"], _rungs(event)) == ("failed", 1, [])
    assert event["failure"]["retry_after_s"] == 60


def test_a_deadline_before_the_next_rung_ends_it(house: House) -> None:
    house.xadd([{"request_id": "due", "prompt": "hi", "model": "down", "timeout_s": 0.8}])
    event = _ended(house, "due")
    assert (event["status"], _rungs(event)) == ("failed", [])


def test_who_waits_for_a_whole_answer_learns_at_once(house: House) -> None:
    began = time.monotonic()
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    link.request(
        "POST", "/v1/chat/completions", json.dumps({"model": "busy", "messages": _MESSAGES})
    )
    answer = link.getresponse()
    error = json.loads(answer.read())["error"]
    link.close()
    assert time.monotonic() - began < 2.4
    assert (answer.status, error["code"]) == (503, "provider_exhausted")
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("3", "true")
    assert _rungs(_ended(house, error["metadata"]["request_id"])) == []


def test_a_stream_climbs_while_its_client_waits(house: House) -> None:
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    body = {"model": "recovers", "messages": _MESSAGES, "stream": True}
    link.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = link.getresponse()
    frames = answer.read().decode()
    link.close()
    assert answer.status == 200
    assert frames.endswith("data: [DONE]\n\n")
    assert '"error"' not in frames
    event = _ended(house, answer.headers["x-request-id"])
    assert (event["status"], _rungs(event)) == ("completed", [1])


def test_what_is_wrong_never_climbs(house: House) -> None:
    house.xadd([{"request_id": "bad", "prompt": "hi", "model": "wrong"}])
    event = _ended(house, "bad")
    assert (event["status"], event["attempts"], _rungs(event)) == ("failed", 1, [])


def test_a_request_is_cancelled_on_its_rung(house: House) -> None:
    house.xadd([{"request_id": "off", "prompt": "hi", "model": "down", "retry_count": 3}])
    assert _on_rung(house, "off") == 4
    _cancel(house, "off")
    assert house.client.hget(house.names.record("off"), "rung_entry") is None
    assert house.client.xlen(house.names.rung(4)) == 0


def test_a_request_is_cancelled_in_a_silent_call(house: House) -> None:
    later = house.later("silent")
    eventually(lambda: house.upstream.calls()[later], 10.0, "the call")
    _cancel(house, later)
    # The call itself is given up, not only the request.
    eventually(lambda: house.upstream.number("active") == 0, 10.0, "the end of the call")


def test_a_request_is_cancelled_while_it_waits(house: House) -> None:
    first, second = house.later("narrow"), house.later("narrow")
    eventually(lambda: house.client.hlen(house.names.parked), 10.0, "the waiting")
    [waiting] = cast("list[str]", house.client.hkeys(house.names.parked))
    assert _script(house, CANCEL.text, waiting, "operator") == 1
    assert _ended(house, waiting)["status"] == "cancelled"
    [calling] = {first, second} - {waiting}
    _cancel(house, calling)
    assert house.upstream.calls()[waiting] == 0


def test_who_is_promoted_is_asked_before_its_time(house: House) -> None:
    house.xadd([{"request_id": "vip", "prompt": "hi", "model": "recovers", "retry_count": 3}])
    assert _on_rung(house, "vip") == 4
    promoted = time.monotonic()
    assert _script(house, PROMOTE.text, "vip") == 1
    assert _ended(house, "vip")["status"] == "completed"
    assert time.monotonic() - promoted < 3


def test_who_waits_for_hours_is_not_delayed_when_the_clock_is_moved(house: House) -> None:
    house.xadd([{"request_id": "old", "prompt": "hi", "model": "aged"}])
    assert _on_rung(house, "old") == 3600
    house.client.set(house.names.clock, 3600)
    assert _ended(house, "old")["status"] == "completed"
    house.client.delete(house.names.clock)
    house.xadd([{"request_id": "young", "prompt": "hi", "model": "recovers"}])
    event = _ended(house, "young")
    assert (event["status"], _rungs(event)) == ("completed", [1])


def test_at_last_nothing_is_left_over(house: House) -> None:
    reckoning = Reckoning(house.client, house.names)

    def is_clean() -> bool:
        # That a rung was in use stays noted until it would have been due.
        return not reckoning.left_over().keys() - {"rungs"}

    eventually(is_clean, 10.0, "nothing left over")
