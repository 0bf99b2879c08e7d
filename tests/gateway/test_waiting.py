"""What clients are told of limits and of the waiting room, over real bytes."""

import re
import threading

import msgspec
import pytest
import redis

from pipeline.errors import Failure
from pipeline.limits.quota import Quota
from tests.gateway.conftest import Answer, House, StartHouse, chat_body
from tests.gateway.standin_view import Place
from tests.gateway.test_callers import TOKENS, bearer, hashed
from tests.gateway.test_plain import finished, frames
from tests.waiting import eventually

CONFIG = f"""
gateway: {{default_model: sim/echo}}
providers: {{sim: {{kind: simulated, any_model: true}}}}
tenants:
  acme: {{tokens: ["{hashed(TOKENS["acme"])}"], users: {{default: {{rpm: 10}}}}}}
  globex: {{tokens: ["{hashed(TOKENS["globex"])}"]}}
"""
QUOTA = Quota(
    scope="user", name="u", dimension="rpm", limit=10, remaining=9, reset_s=6, window_s=60
)
OURS = {
    "source": "sluice", "scope": "tenant", "name": "acme", "dimension": "tpm",
    "limit": 60, "remaining": 0, "reset_s": 12.3, "window_s": 60,
}  # fmt: skip


def put(house: House, name: str, value: object) -> None:
    with redis.Redis.from_url(house.redis_url, protocol=2) as link:
        link.set(name, msgspec.json.encode(value))


def looks(house: House) -> int:
    with redis.Redis.from_url(house.redis_url, protocol=2) as link:
        return int(link.get("look") or 0)


@pytest.fixture
def guarded(start_house: StartHouse) -> House:
    house = start_house(CONFIG)
    put(house, "quotas:acme", [QUOTA])
    return house


def test_answers_tell_the_state_of_a_limited_tenants_limits(guarded: House) -> None:
    chat, plain = "/v1/chat/completions", {"message": "Hi"}
    asked: list[tuple[str, object]] = [
        (chat, chat_body()),
        (chat, chat_body(stream=True)),
        ("/v1/embeddings", {"model": "sim/echo", "input": "x"}),
        ("/chat", plain),
        ("/chat/async", plain),
    ]
    for number, (path, body) in enumerate(asked, 1):
        answer = guarded.ask("POST", path, body, bearer("acme"))
        assert answer.status in (200, 202), path
        assert answer.headers["x-ratelimit-limit-requests"] == "10"
        assert answer.headers["x-ratelimit-remaining-requests"] == "9"
        assert answer.headers["x-ratelimit-reset-requests"] == "6s"
        assert answer.headers["ratelimit-policy"] == '"user-rpm";q=10;w=60'
        assert answer.headers["ratelimit"] == '"user-rpm";r=9;t=6'
        assert looks(guarded) == number


def test_nobody_looks_for_a_tenant_without_limits(guarded: House) -> None:
    answer = guarded.ask("POST", "/v1/chat/completions", chat_body(), bearer("globex"))
    assert answer.status == 200
    assert not any("ratelimit" in name for name in answer.headers)
    assert looks(guarded) == 0


def test_a_look_that_fails_costs_the_headers_alone(guarded: House) -> None:
    with redis.Redis.from_url(guarded.redis_url, protocol=2) as link:
        link.delete("quotas:acme")
        link.lpush("quotas:acme", "what `GET` refuses to read")
    answer = guarded.ask("POST", "/v1/chat/completions", chat_body(), bearer("acme"))
    assert (answer.status, answer.json["object"]) == (200, "chat.completion")
    assert "ratelimit" not in answer.headers


def refusal(house: House, failure: Failure) -> Answer:
    put(house, f"failure:{failure.code}", failure)
    return house.chat("sim/refused", user=failure.code)


def test_a_refusal_by_our_limit_says_which_and_when_to_come_back(house: House) -> None:
    limited = Failure(
        message="m", code="rate_limited", status=429, retry_after_s=12.3, metadata=OURS
    )
    answer = refusal(house, limited)
    assert answer.status == 429
    assert answer.headers["retry-after"] == "13"
    assert answer.headers["retry-after-ms"] == "12300"
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "0"
    assert answer.headers["ratelimit"] == '"tenant-tpm";r=0;t=13'
    metadata = msgspec.convert(answer.error["metadata"], dict[str, object])
    assert metadata["retry_after_ms"] == 12300
    assert OURS.items() <= metadata.items()


@pytest.mark.parametrize(("code", "status"), [("no_access", 403), ("request_too_heavy", 413)])
def test_what_waiting_does_not_mend_is_not_to_be_tried_again(
    house: House, code: str, status: int
) -> None:
    answer = refusal(house, Failure(message="m", code=code, status=status, metadata=OURS))
    assert (answer.status, answer.headers["x-should-retry"]) == (status, "false")
    assert "retry-after" not in answer.headers
    assert answer.headers["x-ratelimit-limit-tokens"] == "60"


def test_a_providers_limit_is_not_told_as_ours(house: House) -> None:
    theirs = Failure(
        message="m",
        code="deadline_unreachable",
        status=429,
        retry_after_s=90,
        metadata={"source": "provider", "eta_s": 90.0},
    )
    answer = refusal(house, theirs)
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("90", "false")
    assert not any("ratelimit" in name for name in answer.headers)


@pytest.fixture
def pinging(start_house: StartHouse) -> House:
    house = start_house(pace='{"ping_s":0.05}')
    put(house, "place:w", Place(position=5, eta_s=11.2))
    threading.Timer(0.5, house.go, ["w"]).start()
    return house


def test_an_openai_stream_that_waits_tells_its_place_in_comments(pinging: House) -> None:
    body = pinging.chat("sim/parked", stream=True, user="w").body
    assert b": waiting position=5 eta_s=12\n" in body
    assert b"eta_s=12\n\n" not in body
    without = re.sub(rb": (waiting position=5 eta_s=12|ping)\n", b"", body)
    assert all(frame.startswith(b"data: ") for frame in without.split(b"\n\n")[:-1])


def test_a_plain_stream_that_waits_tells_its_place_in_frames(pinging: House) -> None:
    sent = {"message": "Hi", "model": "sim/parked", "user": "w"}
    body = pinging.ask("POST", "/chat", sent).body
    assert b'data: {"type":"waiting","position":5,"eta_s":12}\n\n' in body
    shown = [frame["type"] for frame in frames(body) if frame["type"] != "waiting"]
    assert shown == ["chunk"] * 4 + ["complete"]


def test_who_resumes_a_waiting_request_is_told_its_place_under_a_name(pinging: House) -> None:
    sent = {"message": "Hi", "model": "sim/parked", "user": "w"}
    task_id = pinging.ask("POST", "/chat/async", sent).json["task_id"]
    body = pinging.ask("GET", f"/v1/requests/{task_id}/stream").body
    assert b'event: waiting\ndata: {"type":"waiting","position":5,"eta_s":12}\n\n' in body
    assert body.endswith(b"data: [DONE]\n\n")


def test_a_place_without_an_estimate_is_told_without_one(start_house: StartHouse) -> None:
    house = start_house(pace='{"ping_s":0.05}')
    put(house, "place:w", Place(position=2))
    threading.Timer(0.4, house.go, ["w"]).start()
    assert b": waiting position=2\n" in house.chat("sim/parked", stream=True, user="w").body


def test_a_request_that_waits_has_a_position_and_an_estimate(house: House) -> None:
    put(house, "place:asked", Place(position=3, eta_s=4.5))
    sent = {"message": "Hi", "model": "sim/parked", "user": "asked"}
    task_id = house.ask("POST", "/chat/async", sent).json["task_id"]

    def told(path: str) -> dict[str, object]:
        return house.ask("GET", f"{path}/{task_id}").json

    eventually(lambda: told("/chat")["status"] == "waiting")
    for path in ("/chat", "/v1/requests"):
        state = told(path)
        assert (state["position"], state["eta_s"]) == (3, 4.5)
    house.go("asked")
    state = finished(house, task_id)
    assert (state["status"], state["position"], state["eta_s"]) == ("completed", None, None)
