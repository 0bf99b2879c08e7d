"""The plain API's chat: frames, text, and tasks that are asked for later."""

import re

import msgspec
import pytest
import redis

from tests.gateway.conftest import House
from tests.waiting import eventually

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def frames(body: bytes) -> list[dict[str, object]]:
    """Read the data of the frames."""
    return [
        msgspec.json.decode(line[6:], type=dict[str, object])
        for line in body.split(b"\n")
        if line.startswith(b"data: ")
    ]


def finished(house: House, task_id: object) -> dict[str, object]:
    """Wait until a task has ended and give its state."""

    def state() -> dict[str, object] | None:
        told = house.ask("GET", f"/chat/{task_id}").json
        return told if told["status"] in ("completed", "failed") else None

    return eventually(state) or {}


def test_chat_streams_frames_with_ids(house: House) -> None:
    answer = house.ask("POST", "/chat", {"message": "Hi", "model": "sim/echo"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    task_id = answer.headers["x-request-id"]
    shown = frames(answer.body)
    assert [frame["type"] for frame in shown] == ["chunk"] * 4 + ["complete"]
    assert shown[0] == {"type": "chunk", "content": "Hello", "task_id": task_id}
    assert shown[-1]["usage"] == {
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
    }  # fmt: skip
    assert all(frame.startswith(b"id: ") for frame in answer.body.split(b"\n\n")[:-1])


def test_chat_gives_plain_text_to_who_accepts_that(house: House) -> None:
    answer = house.ask("POST", "/chat", {"message": "Hi"}, {"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body == b"Hello, world!"


def test_chat_writes_the_body_that_the_provider_expects(house: House) -> None:
    sent = {
        "message": "Hi",
        "system": "Be brief",
        "model": "sim/body",
        "temperature": 0.5,
        "parameters": {"max_tokens": 7},
        "session_id": "body",
        "priority": 3,
    }
    task_id = house.ask("POST", "/chat/async", sent).json["task_id"]
    result = finished(house, task_id)["result"]
    assert isinstance(result, dict)
    assert msgspec.json.decode(result["content"]) == {
        "model": "sim/body",
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Hi"},
        ],
        "temperature": 0.5,
        "max_tokens": 7,
        "stream": True,
    }


def test_a_failure_before_the_first_word_is_an_http_error(house: House) -> None:
    answer = house.ask("POST", "/chat", {"message": "Hi", "model": "sim/overloaded"})
    assert (answer.status, answer.error["code"]) == (503, "provider_exhausted")


def test_a_failure_in_the_middle_is_an_error_frame(house: House) -> None:
    shown = frames(house.ask("POST", "/chat", {"message": "Hi", "model": "sim/cut"}).body)
    assert [frame["type"] for frame in shown] == ["chunk", "error"]
    assert msgspec.convert(shown[1]["error"], dict[str, object])["code"] == "stream_interrupted"


def test_an_answer_that_begins_anew_is_told_and_goes_on(house: House) -> None:
    shown = frames(house.ask("POST", "/chat", {"message": "Hi", "model": "sim/restart"}).body)
    assert [frame["type"] for frame in shown] == ["chunk", "restart", "chunk", "complete"]
    assert shown[2]["content"] == "kept"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "a", "messages": [{"role": "user", "content": "b"}]},
        {"messages": []},
        {"message": 5},
        {"message": "a", "priority": 11},
        {"message": "a", "session_id": "no spaces"},
        {"message": "a", "parameters": [1]},
    ],
)
def test_a_bad_plain_body_is_refused(house: House, body: dict[str, object]) -> None:
    for path in ("/chat", "/chat/async"):
        assert house.ask("POST", path, body).status == 400


def test_a_task_is_queued_with_a_session_and_told_in_full(house: House) -> None:
    answer = house.ask("POST", "/chat/async", {"message": "Hi"})
    assert answer.status == 202
    queued = answer.json
    assert set(queued) == {"status", "task_id", "session_id", "stream_url"}
    assert queued["status"] == "queued"
    assert queued["stream_url"] == f"/stream/{queued['session_id']}"
    assert answer.headers["x-request-id"] == queued["task_id"]
    state = finished(house, queued["task_id"])
    assert list(state) == [
        "task_id", "session_id", "status", "model", "created_at", "started_at", "finished_at",
        "attempts", "position", "eta_s", "result", "error", "trace_id",
    ]  # fmt: skip
    assert state["session_id"] == queued["session_id"]
    assert (state["model"], state["attempts"], state["error"]) == ("sim/echo", 1, None)
    for name in ("created_at", "started_at", "finished_at"):
        assert re.fullmatch(TIME, str(state[name]))
    assert state["result"] == {
        "content": "Hello, world!",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "response": None,
    }


def test_a_failed_task_tells_its_error(house: House) -> None:
    queued = house.ask("POST", "/chat/async", {"message": "Hi", "model": "sim/overloaded"}).json
    state = finished(house, queued["task_id"])
    assert (state["status"], state["result"]) == ("failed", None)
    error = msgspec.convert(state["error"], dict[str, object])
    assert error["code"] == "provider_exhausted"


def test_a_task_that_waits_is_queued(house: House) -> None:
    queued = house.ask("POST", "/chat/async", {"message": "Hi", "model": "sim/never"}).json
    state = house.ask("GET", f"/chat/{queued['task_id']}").json
    assert (state["status"], state["started_at"], state["result"]) == ("queued", None, None)


def test_an_unknown_task_is_not_found(house: House) -> None:
    for task_id in ("0" * 32, "x" * 500, "%00"):
        answer = house.ask("GET", f"/chat/{task_id}")
        assert (answer.status, answer.error["code"]) == (404, "request_not_found")


def test_a_task_has_no_deadline_unless_one_is_asked_for(house: House, client: redis.Redis) -> None:
    body = {"message": "Hi", "model": "sim/never"}
    free = house.ask("POST", "/chat/async", body).json
    bound = house.ask("POST", "/chat/async", body, {"X-Request-Timeout": "60"}).json
    assert not client.hexists(f"sluice:request:{free['task_id']}", "deadline")
    assert client.hexists(f"sluice:request:{bound['task_id']}", "deadline")
