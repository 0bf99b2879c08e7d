"""Entries that nobody can serve: each becomes a dead letter with its cause and hurts nobody."""

import json

import pytest

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import House, requests
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.crash

_CHAT: dict[str, object] = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}

#: What a producer may get wrong, with the cause of the dead letter.
_BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "malformed"),
    "no text": (b"\xff\xfe", "malformed"),
    "no object": (b"[1, 2]", "malformed"),
    "nothing": (b"", "malformed"),
    "model of a wrong type": (json.dumps({**_CHAT, "model": 7}).encode(), "malformed"),
    "neither messages nor prompt": (b'{"model": "fast"}', "malformed"),
    "priority out of range": (json.dumps({**_CHAT, "priority": 11}).encode(), "malformed"),
    "priority of a wrong type": (json.dumps({**_CHAT, "priority": "high"}).encode(), "malformed"),
    "bad id": (json.dumps({**_CHAT, "request_id": "a b"}).encode(), "malformed"),
    "empty id": (json.dumps({**_CHAT, "request_id": ""}).encode(), "malformed"),
    "id of a wrong type": (json.dumps({**_CHAT, "request_id": 5}).encode(), "malformed"),
    "endless time": (json.dumps({**_CHAT, "timeout_s": 1e300}).encode(), "malformed"),
    "parameters of a wrong type": (json.dumps({**_CHAT, "parameters": [1]}).encode(), "malformed"),
    "callback of a wrong type": (json.dumps({**_CHAT, "reply_to": {"a": 1}}).encode(), "malformed"),
    "an event of ours that is none": (b'{"v":1,"id":"x"}', "malformed"),
    "an event of another version": (b'{"v":2,"id":"x"}', "malformed"),
    "deeply nested": (b'{"model": "fast", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", ""),
    "unknown model": (json.dumps({**_CHAT, "model": "nobody"}).encode(), "model_not_found"),
}


@pytest.mark.parametrize("what", _BAD)
def test_a_bad_entry_is_a_dead_letter_with_its_cause(
    shared_house: House, shared_reckoning: Reckoning, what: str
) -> None:
    house = shared_house
    payload, cause = _BAD[what]
    # Of what is nested too deeply nothing can be read, its callback neither.
    with_callback = payload.startswith(b'{"model"') and bool(cause)
    if with_callback:
        payload = payload.replace(b'{"model"', b'{"callback_queue": "answers", "model"', 1)
    house.client.delete("answers")
    known = {str(letter["id"]) for letter in shared_reckoning.ended("dead")}
    house.client.xadd(house.names.requests["default"], {"event": payload})
    good = requests(1, name=f"after {what} ".replace(" ", "-"))
    house.xadd(good)
    shared_reckoning.await_end([str(good[0]["request_id"])])

    def letters() -> list[dict[str, object]]:
        found = shared_reckoning.ended("dead")
        return [dict(letter["failure"]) for letter in found if letter["id"] not in known]

    [failure] = eventually(letters, what="the dead letter")
    assert not cause or failure["cause"] == cause
    assert failure["message"]
    if with_callback:
        [answer] = eventually(lambda: house.answers("answers"), what="the callback")
        assert answer["status"] == "error"
        assert answer["error"] == failure["message"]
    eventually(lambda: not shared_reckoning.left_over(), what="nothing left over")


def test_an_entry_without_the_field_event_is_a_dead_letter(
    shared_house: House, shared_reckoning: Reckoning
) -> None:
    entry = shared_house.client.xadd(shared_house.names.requests["high"], {"foo": "bar"})
    request_id = f"xadd-high-{entry!s}"
    shared_reckoning.await_end([request_id])
    letter = next(one for one in shared_reckoning.ended("dead") if one["id"] == request_id)
    assert "event" in str(letter["failure"]["message"])


def test_a_callback_into_our_own_streams_is_refused(
    shared_house: House, shared_reckoning: Reckoning
) -> None:
    house = shared_house
    streams = [house.names.requests["default"], house.names.done, house.names.hop("gate")]
    events = [
        {**request, "callback_queue": stream}
        for stream, request in zip(streams, requests(3, name="loop"), strict=True)
    ]
    house.xadd(events)
    ids = ["loop0", "loop1", "loop2"]
    shared_reckoning.await_end(ids)

    def refused() -> bool:
        told = [str(house.client.hget(house.names.record(i), "callback")) for i in ids]
        return all(text.startswith("refused") for text in told)

    eventually(refused, what="the note that the callback was refused")
    assert shared_reckoning.statuses(ids) == {"completed": 3}
    eventually(lambda: not shared_reckoning.left_over(), what="nothing left over")


def test_a_callback_to_a_key_of_another_type_is_noted_and_the_key_left_alone(
    shared_house: House, shared_reckoning: Reckoning
) -> None:
    house = shared_house
    house.client.set("mine", "precious")
    house.xadd(requests(1, name="typed", callback_queue="mine"))
    shared_reckoning.await_end(["typed0"])
    record = house.names.record("typed0")
    told = eventually(lambda: house.client.hget(record, "callback"), what="the note")
    assert "string" in str(told)
    assert house.client.get("mine") == "precious"
    eventually(lambda: not shared_reckoning.left_over(), what="nothing left over")


def test_an_event_that_kills_its_workers_is_given_up(build_house: BuildHouse) -> None:
    house = build_house(
        workers={"liveness_s": 0.3, "scan_s": 0.05, "max_deliveries": 4},
        models={"deadly": {"deployments": [{"provider": "sim", "model": "fast"}]}},
    )
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    harmless = requests(12, "sim/slow:ttft_ms=100")
    house.xadd(
        [*harmless[:6], *requests(1, "deadly", "p", callback_queue="answers"), *harmless[6:]]
    )
    deaths = 0
    while not reckoning.statuses(["p0"])["failed"]:
        deaths += _dies(house, reckoning)
        assert deaths <= 4, "the event was run again and again"
    assert deaths == 4
    ids = [str(event["request_id"]) for event in harmless]
    reckoning.check([*ids, "p0"])
    assert reckoning.statuses(ids) == {"completed": 12}
    [letter] = reckoning.ended("dead")
    assert letter["failure"]["cause"] == "poison"
    [answer] = eventually(lambda: house.answers("answers"), what="the callback")
    assert answer["error_code"] == "poison_event"


def _dies(house: House, reckoning: Reckoning) -> bool:
    """Start a worker and wait for its death, or the deadly event's; tell whether it was its own."""
    worker = house.spawn_worker(module="tests.crash.deadly")

    def decided() -> bool:
        return worker.process.poll() is not None or reckoning.statuses(["p0"])["failed"] > 0

    eventually(decided, what="the worker's death, or the event's")
    return worker.process.poll() is not None
