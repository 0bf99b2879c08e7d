"""What an OpenAI stream and its errors look like, byte by byte."""

import re
import socket
import threading
import time

import msgspec
import pytest
import redis

from tests.gateway.conftest import House, StartHouse, chat_body
from tests.waiting import eventually


def told(house: House, body: dict[str, object], **headers: str) -> dict[str, object]:
    """Ask for the event that the stand-in got."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = house.ask("POST", "/v1/chat/completions", body, sent)
    assert answer.status == 200, answer.body
    whole = msgspec.json.decode(answer.body)
    return msgspec.json.decode(whole["choices"][0]["message"]["content"], type=dict[str, object])


def test_a_stream_is_data_frames_alone_and_ends_with_done(house: House) -> None:
    answer = house.chat(stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    frames = answer.body.split(b"\n\n")
    assert frames.pop() == b""
    assert frames.pop() == b"data: [DONE]"
    assert all(re.fullmatch(rb"data: \{[^\n]*\}", frame) for frame in frames)
    assert all(msgspec.json.decode(frame[6:])["choices"] for frame in frames)


def test_entries_of_several_chunks_become_frames_of_one_each(house: House) -> None:
    answer = house.chat("sim/joined", stream=True)
    assert answer.body.count(b"data: {") == 4
    assert b"}data" not in answer.body


def test_usage_comes_last_when_it_was_asked_for(house: House) -> None:
    answer = house.chat(stream=True, stream_options={"include_usage": True})
    *_, usage, done, end = answer.body.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    assert msgspec.json.decode(usage[6:])["choices"] == []
    assert msgspec.json.decode(usage[6:])["usage"]["total_tokens"] == 5


def test_pings_have_one_newline_and_stand_between_frames(start_house: StartHouse) -> None:
    house = start_house(pace='{"ping_s":0.05}')
    threading.Timer(0.4, house.go, ["p"]).start()
    body = house.chat("sim/slow", stream=True, user="p").body
    assert b": ping\n" in body
    assert b": ping\n\n" not in body
    assert b"id:" not in body.replace(b'"id":', b"")
    without = body.replace(b": ping\n", b"")
    assert all(frame.startswith(b"data: ") for frame in without.split(b"\n\n")[:-1])


def test_a_silent_stream_begins_with_a_ping_and_then_tells_errors_in_frames(
    start_house: StartHouse,
) -> None:
    house = start_house(pace='{"ping_s":0.05}')
    body = chat_body("sim/never", stream=True)
    answer = house.ask("POST", "/v1/chat/completions", body, {"X-Request-Timeout": "0.4"})
    assert answer.status == 200
    pings, frame = answer.body.split(b"data: ")
    assert pings.strip(b": ping\n") == b""
    assert msgspec.json.decode(frame)["error"]["code"] == "queue_timeout"
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_is_not_answered_in_time_is_a_504(house: House, stream: bool) -> None:
    start = time.monotonic()
    body = chat_body("sim/never", stream=stream)
    answer = house.ask("POST", "/v1/chat/completions", body, {"X-Request-Timeout": "0.3"})
    assert answer.status == 504
    assert answer.error["code"] == "queue_timeout"
    assert answer.headers["retry-after"] == "1"
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon"])
def test_a_timeout_that_is_none_is_refused(house: House, timeout: str) -> None:
    answer = house.ask("POST", "/v1/chat/completions", chat_body(), {"X-Request-Timeout": timeout})
    assert answer.status == 400


def test_a_timeout_becomes_the_events_deadline_and_only_shortens_ours(house: House) -> None:
    event = told(house, chat_body("sim/tell"), X_Request_Timeout="7")
    longer = told(house, chat_body("sim/tell"), X_Request_Timeout="100000")
    assert span(event) == pytest.approx(7)
    assert span(longer) == pytest.approx(300)


def span(event: dict[str, object]) -> float:
    created, deadline = event["created"], event["deadline"]
    assert isinstance(created, float)
    assert isinstance(deadline, float)
    return deadline - created


@pytest.mark.parametrize(
    ("fields", "headers", "priority"),
    [
        ({}, {}, 0),
        ({"priority": 7}, {}, 7),
        ({"priority": 7}, {"X-Sluice-Priority": "-3"}, -3),
        ({"service_tier": "priority"}, {}, 1),
        ({"service_tier": "flex"}, {}, -1),
        ({"service_tier": "default"}, {}, 0),
        ({"service_tier": "flex", "priority": 0}, {}, 0),
    ],
)
def test_priorities_come_from_header_body_and_tier(
    house: House, fields: dict[str, object], headers: dict[str, str], priority: int
) -> None:
    answer = house.ask("POST", "/v1/chat/completions", chat_body("sim/tell", **fields), headers)
    event = msgspec.json.decode(answer.body)["choices"][0]["message"]["content"]
    assert msgspec.json.decode(event).get("priority", 0) == priority


@pytest.mark.parametrize("priority", [11, -11, 1.5, "high", True])
def test_a_bad_priority_is_refused(house: House, priority: object) -> None:
    answer = house.chat(priority=priority)
    assert answer.status == 400
    assert answer.error["param"] == "priority"
    assert answer.headers["x-should-retry"] == "false"


def test_a_bad_priority_header_is_refused(house: House) -> None:
    answer = house.ask("POST", "/v1/chat/completions", chat_body(), {"X-Sluice-Priority": "urgent"})
    assert (answer.status, answer.error["param"]) == (400, "priority")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user"}]}, "model"),
        ({"model": "fast"}, "messages"),
        ({"model": "fast", "messages": []}, "messages"),
        ({"model": "fast", "messages": "Hi"}, "messages"),
        ({"model": 5, "messages": [1]}, "model"),
        ({"model": "fast", "messages": [1], "stream": "yes"}, "stream"),
    ],
)
def test_a_misfit_is_named_by_its_parameter(
    house: House, body: dict[str, object], param: str
) -> None:
    answer = house.ask("POST", "/v1/chat/completions", body)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert set(answer.error) == {"message", "type", "param", "code", "metadata"}
    assert answer.error["metadata"] == {"request_id": answer.headers["x-request-id"]}


def test_json_that_is_nested_without_end_is_refused(house: House) -> None:
    for depth in (900, 100_000):
        deep = b"[" * depth + b"]" * depth
        answer = house.ask(
            "POST", "/v1/chat/completions", b'{"model":"fast","messages":[1],"x":' + deep + b"}"
        )
        assert answer.status == 400
        assert "nested" in str(answer.error["message"])


def test_a_body_that_is_too_large_is_refused_before_it_has_come(start_house: StartHouse) -> None:
    house = start_house("gateway: {max_body_bytes: 1000}\n", standin=False)
    declared = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000\r\n\r\n{"
    chunked = b"POST /chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    for sent in (declared, chunked + b"3e9\r\n" + b"x" * 1001 + b"\r\n"):
        with socket.create_connection(("127.0.0.1", house.port), timeout=10) as link:
            link.sendall(sent)
            answer = b""
            while b"}}" not in answer:
                answer += link.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"code":"body_too_large"' in answer
    assert house.chat("fast", filler="x" * 1000).status == 413
    assert house.ask("GET", "/health").status == 200


def test_a_generation_that_begins_anew_is_an_error_once_its_words_were_seen(house: House) -> None:
    answer = house.chat("sim/restart", stream=True)
    first, error, end = answer.body.split(b"\n\n")
    assert b'"lost"' in first
    assert msgspec.json.decode(error[6:])["error"]["code"] == "stream_interrupted"
    assert end == b""


def test_unknown_routes_and_methods_answer_in_openais_form(house: House) -> None:
    missing = house.ask("GET", "/v2/models")
    assert (missing.status, missing.error["code"]) == (404, "not_found")
    wrong = house.ask("GET", "/v1/chat/completions")
    assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    assert wrong.headers["x-request-id"]
    assert house.ask("DELETE", "/nowhere").status == 404
    listing = house.ask("GET", "/")
    assert "POST /v1/chat/completions" in str(listing.json["routes"])


def test_a_clients_own_request_id_is_not_taken_for_ours(house: House) -> None:
    answer = house.ask("POST", "/v1/chat/completions", chat_body(), {"X-Request-Id": "mine"})
    assert answer.headers["x-request-id"] != "mine"


def test_trace_context_travels_with_the_event(house: House) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    assert told(house, chat_body("sim/tell"), traceparent=parent)["traceparent"] == parent
    assert "traceparent" not in told(house, chat_body("sim/tell"), traceparent="nonsense")


def leave(house: House, model: str, user: str) -> str:
    """Send a stream's request, wait for its first word and go away; gives the request's id."""
    with house.open(
        "POST", "/v1/chat/completions", chat_body(model, stream=True, user=user)
    ) as answer:
        assert answer.readline().startswith(b"data: ")
        time.sleep(0.3)
        return answer.getheader("x-request-id") or ""


def test_a_client_that_goes_away_is_noticed_and_its_request_drained(
    house: House, client: redis.Redis
) -> None:
    request_id = leave(house, "sim/slow", "leaver")
    eventually(lambda: f"Client went away  request={request_id}" in house.process.output)
    house.go("leaver")
    record = f"sluice:request:{request_id}"
    eventually(lambda: client.hget(record, "status") == "completed")
    assert not client.hexists(record, "cancel")


def test_a_client_that_goes_away_can_cancel_its_request(start_house: StartHouse) -> None:
    house = start_house(
        "gateway: {on_disconnect: cancel}\nproviders: {sim: {kind: simulated, any_model: true}}\n"
        "models: {fast: {deployments: [{provider: sim, model: echo}]}}"
    )
    request_id = leave(house, "sim/slow", "canceller")
    record = f"sluice:request:{request_id}"
    with redis.Redis.from_url(house.redis_url, protocol=2, decode_responses=True) as link:
        eventually(lambda: link.hget(record, "cancel") == "client_gone")
        house.go("canceller")
        eventually(lambda: link.hget(record, "status") == "failed")
