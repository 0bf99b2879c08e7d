"""Programs that write to a request stream themselves, with nothing of ours."""

import pytest

from tests.house_of_sluice import House
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey


def _answer(house: House, stream: str) -> dict[str, object]:
    [answer] = eventually(lambda: house.answers(stream), what="the callback")
    return answer


def test_the_least_that_is_a_request(house: House, reckoning: Reckoning) -> None:
    event = '{"model":"fast","messages":[{"role":"user","content":"hi"}]}'
    entry = house.client.xadd("sluice:requests:default", {"event": event})
    request_id = f"xadd-default-{entry!s}"
    reckoning.await_end([request_id])
    status, task = house.ask("GET", f"/chat/{request_id}")
    assert (status, task["status"]) == (200, "completed")
    assert dict(task["result"])["content"]  # type: ignore[call-overload]


def test_the_seeds_message_is_answered_in_its_own_form(house: House) -> None:
    message = {
        "request_id": "6f1b4c9e-uuid",
        "prompt": "Tell me about Python",
        "model": "fast",
        "parameters": {
            "temperature": 0.7, "top_p": 0.95, "top_k": 40, "max_output_tokens": 5,
        },
        "callback_queue": "gemini.responses",
        "timestamp": "2025-01-01T00:00:00Z",
        "retry_count": 0,
        "metadata": {"trace": "mine"},
    }  # fmt: skip
    house.xadd([message])
    answer = _answer(house, "gemini.responses")
    assert answer["request_id"] == "6f1b4c9e-uuid"
    assert answer["status"] == "success"
    assert answer["content"]
    usage = dict(answer["usage"])  # type: ignore[call-overload]
    assert usage["completion_tokens"] == 5, "max_output_tokens was not translated"
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5
    assert float(str(answer["processing_time_ms"])) > 0
    assert str(answer["timestamp"]).endswith("Z")
    assert answer["model_used"] == "fast"
    assert answer["metadata"] == {"trace": "mine"}
    response = dict(answer["response"])  # type: ignore[call-overload]
    assert response["object"] == "chat.completion"
    assert "error" not in answer


def test_a_failure_is_told_in_the_error_form(house: House) -> None:
    house.xadd([{"prompt": "hi", "model": "broken", "reply_to": "failures", "request_id": "bad-1"}])
    answer = _answer(house, "failures")
    assert answer["request_id"] == "bad-1"
    assert answer["status"] == "error"
    assert answer["error"]
    assert answer["error_code"] == "provider_exhausted"
    assert "content" not in answer
    assert {"processing_time_ms", "timestamp"} <= answer.keys()


def test_a_system_instruction_and_the_model_by_default(house: House) -> None:
    message = {"prompt": "hi", "system_instruction": "be brief", "callback_queue": "by-default"}
    house.xadd([message])
    answer = _answer(house, "by-default")
    assert (answer["status"], answer["model_used"]) == ("success", "fast")


@pytest.mark.parametrize("size", [5_000, 1_000_000])
def test_large_bodies_travel_whole(house: House, reckoning: Reckoning, size: int) -> None:
    stream = f"large-{size}"
    house.xadd([{"prompt": "x" * size, "model": "fast", "callback_queue": stream}])
    answer = _answer(house, stream)
    assert answer["status"] == "success"
    # The simulated provider counts a token for every four characters.
    assert dict(answer["usage"])["prompt_tokens"] >= size // 5  # type: ignore[call-overload]
    body = {"model": "fast", "messages": [{"role": "user", "content": "y" * size}]}
    status, told = house.ask("POST", "/v1/chat/completions", body)
    assert status == 200
    assert dict(told["usage"])["prompt_tokens"] >= size // 5  # type: ignore[call-overload]


def test_a_producers_session_is_a_stream_for_readers(house: House, reckoning: Reckoning) -> None:
    events: list[dict[str, object]] = [
        {"request_id": f"turn{n}", "prompt": "hi", "model": "fast", "stream": True,
         "session_id": "talk"}
        for n in range(3)
    ]  # fmt: skip
    for event in events:
        house.xadd([event])
        reckoning.await_end([str(event["request_id"])])
    assert house.client.lrange("sluice:session:talk", 0, -1) == ["turn0", "turn1", "turn2"]
    status, told = house.ask("GET", "/v1/requests/turn1/events")
    assert status == 200
    hops = [line["hop"] for line in told["data"]]  # type: ignore[attr-defined]
    assert hops == ["route", "gate", "call", "respond"]


def test_many_producers_at_once_are_all_answered(house: House) -> None:
    ids = {f"many{n}" for n in range(300)}
    house.xadd({"request_id": i, "prompt": "hi", "model": "fast", "reply_to": "many"} for i in ids)
    eventually(lambda: house.client.xlen("many") >= 300, what="all callbacks")
    answers = house.answers("many")
    assert sorted(str(answer["request_id"]) for answer in answers) == sorted(ids)
    assert {answer["status"] for answer in answers} == {"success"}
