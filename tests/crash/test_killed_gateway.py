"""A gateway is killed with clients waiting: their requests end, and another gateway has them."""

import http.client

import pytest

from tests.crowd import Crowd, read_stream
from tests.house_of_sluice import House, kill_family
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash

_MODEL = "sim/talk:ttft_ms=1000,tokens=10,tps=20"


def test_requests_of_a_killed_gateway_end_and_the_next_one_serves_them(
    house: House, reckoning: Reckoning
) -> None:
    house.start_simulated()
    first = house.await_gateway(house.spawn_gateway())
    house.start_worker()
    told = [
        house.ask("POST", "/chat/async", {"message": "hi", "model": _MODEL, "session_id": f"s{n}"})[
            1
        ]
        for n in range(5)
    ]
    ids = [str(one["task_id"]) for one in told]
    with Crowd(house.url, 20, _MODEL) as waiting:
        eventually(lambda: house.upstream.number("active") == 25, what="all in mid-call")
        kill_family(first)
        assert {one.status for one in waiting.heard()} == {0}
        house.await_gateway(house.spawn_gateway())
        streams = [_text(house, f"/stream/s{n}") for n in range(5)]
    assert all('"complete"' in text for text in streams)
    everyone = [str(event["id"]) for event in eventually(lambda: _all(reckoning, 25))]
    reckoning.check(everyone)
    assert set(ids) < set(everyone)
    assert more_than_one(house.upstream.calls(), everyone) == set()
    tasks = [house.ask("GET", f"/chat/{request_id}")[1] for request_id in everyone]
    assert {task["status"] for task in tasks} == {"completed"}
    contents = {task["result"]["content"] for task in tasks}  # type: ignore[index]
    assert len(contents) == 1, "some replies have holes"
    chunks = [read_stream(_text(house, f"/v1/requests/{one}/stream"))[0] for one in ids]
    assert set(chunks) == contents


def _all(reckoning: Reckoning, count: int) -> list[dict[str, object]]:
    ended = [dict(event) for event in reckoning.ended()]
    return ended if len(ended) == count else []


def _text(house: House, path: str) -> str:
    """Read a whole stream of a gateway."""
    link = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        link.close()
