"""What `curl` would do: the plain API, from a question to its answer, now or later."""

import http.client
import json

import pytest

from tests.house_of_sluice import House
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey


def _read(house: House, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    try:
        payload = None if body is None else json.dumps(body)
        link.request("GET" if body is None else "POST", path, payload, headers)
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


def _frames(text: str) -> list[tuple[str, dict[str, object]]]:
    """Read the frames of our own streams: the id and the JSON of each."""
    found = []
    for frame in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in frame.split("\n"))
        found.append((lines.get("id", ""), json.loads(lines["data"])))
    return found


def test_a_question_now(house: House) -> None:
    status, text = _read(house, "/chat", {"message": "hi", "model": "fast"})
    frames = [frame for _, frame in _frames(text)]
    assert status == 200
    assert {frame["type"] for frame in frames[:-1]} == {"chunk"}
    assert frames[-1]["type"] == "complete"
    assert frames[-1]["usage"]
    status, plain = _read(house, "/chat", {"message": "hi", "model": "fast"}, Accept="text/plain")
    assert plain == "".join(str(frame["content"]) for frame in frames[:-1])


def test_a_question_for_later_read_by_many(house: House, reckoning: Reckoning) -> None:
    asked = {
        "message": "hi",
        "model": "sim/slow:ttft_ms=200,tokens=10,tps=40",
        "session_id": "later",
    }
    status, told = house.ask("POST", "/chat/async", asked)
    assert status == 202
    assert told["status"] == "queued"
    during = _read(house, str(told["stream_url"]))[1]
    after = _read(house, str(told["stream_url"]))[1]
    assert "".join(str(f.get("content", "")) for _, f in _frames(during)) == "".join(
        str(f.get("content", "")) for _, f in _frames(after)
    )
    task = house.ask("GET", f"/chat/{told['task_id']}")[1]
    assert task["status"] == "completed"
    result = dict(task["result"])  # type: ignore[call-overload]
    assert result["content"] == "".join(str(f.get("content", "")) for _, f in _frames(after))


def test_a_reader_resumes_where_it_was(house: House) -> None:
    asked = {"message": "hi", "model": "sim/slow:tokens=12,tps=60", "session_id": "resumed"}
    house.ask("POST", "/chat/async", asked)
    whole = _frames(_read(house, "/stream/resumed")[1])
    for place, _ in whole[2:-1:4]:
        rest = _frames(_read(house, "/stream/resumed", **{"Last-Event-ID": place})[1])
        behind = whole[[at for at, _ in whole].index(place) + 1 :]
        assert _content(rest) == _content(behind)


def _content(frames: list[tuple[str, dict[str, object]]]) -> str:
    return "".join(str(frame.get("content", "")) for _, frame in frames)


def test_a_journey_can_be_looked_at(house: House, reckoning: Reckoning) -> None:
    request_id = house.later("shaky")
    reckoning.await_end([request_id])
    _, shown = house.ask("GET", f"/v1/requests/{request_id}")
    assert (shown["status"], shown["attempts"]) == ("completed", 3)
    _, told = house.ask("GET", f"/v1/requests/{request_id}/events")
    hops = [line["hop"] for line in told["data"]]  # type: ignore[attr-defined]
    assert hops == ["route", *["gate", "call"] * 3, "respond"]


def test_an_unknown_request_is_not_found(house: House) -> None:
    for path in ("/chat/nobody", "/v1/requests/nobody", "/stream/nobody"):
        status, told = house.ask("GET", path)
        assert status == 404
        assert dict(told["error"])["code"] == "request_not_found"  # type: ignore[call-overload]


def test_a_client_that_goes_away_costs_no_accounting(house: House, reckoning: Reckoning) -> None:
    body = {"model": "sim/slow:ttft_ms=300,tokens=20,tps=40", "stream": True,
            "messages": [{"role": "user", "content": "hi"}]}  # fmt: skip
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    link.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = link.getresponse()
    request_id = str(answer.getheader("x-request-id"))
    answer.read(10)
    answer.close()
    link.close()
    reckoning.await_end([request_id])
    _, shown = house.ask("GET", f"/v1/requests/{request_id}")
    assert shown["status"] == "completed"
    assert eventually(lambda: house.upstream.calls()[request_id]) == 1


def test_the_house_is_healthy_and_empty_at_the_end(house: House, reckoning: Reckoning) -> None:
    status, health = house.ask("GET", "/health/full")
    assert (status, health["status"]) == (200, "ok")
    assert len(health["workers"]) == 2  # type: ignore[arg-type]
    eventually(lambda: not reckoning.left_over(), what="nothing left over")
