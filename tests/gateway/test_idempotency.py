"""An Idempotency-Key over HTTP: one request for each, whatever its client sends again."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import pytest
import redis

from gateway.idempotency import _key
from pipeline.errors import BadRequest
from tests.gateway.conftest import Answer, House, StartHouse, chat_body
from tests.gateway.test_callers import CONFIG as TENANTS
from tests.gateway.test_callers import bearer
from tests.gateway.test_plain import frames
from tests.waiting import eventually

_CHAT = "/v1/chat/completions"
_numbers = count()


@pytest.fixture
def key() -> str:
    """Give a key that no other test has."""
    return f"key-{next(_numbers)}"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Ask at the same time."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def ask(
    house: House, key: str, model: str = "sim/echo", path: str = _CHAT, **fields: object
) -> Answer:
    return house.ask("POST", path, chat_body(model, **fields), {"Idempotency-Key": key})


def attach(house: House, key: str, **fields: object) -> Answer:
    headers = {"Idempotency-Key": key, "X-Sluice-On-Duplicate": "attach"}
    return house.ask("POST", _CHAT, chat_body("sim/silent", **fields), headers)


def begin(
    house: House, client: redis.Redis, pool: ThreadPoolExecutor, key: str, *, stream: bool = False
) -> Future[Answer]:
    """Send a request that is answered when its user is told to go; wait until it is accepted."""
    lane, before = "sluice:requests:default", client.xlen("sluice:requests:default")
    asked = pool.submit(ask, house, key, "sim/silent", user=key, stream=stream)
    eventually(lambda: client.xlen(lane) > before, what="the first request")
    return asked


def test_a_completed_request_is_not_asked_again(
    house: House, client: redis.Redis, key: str
) -> None:
    first = ask(house, key)
    before = client.xlen("sluice:requests:default")
    again = ask(house, key)
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    assert client.xlen("sluice:requests:default") == before


def test_a_completed_stream_comes_again_from_its_start(house: House, key: str) -> None:
    first = ask(house, key, stream=True)
    again = ask(house, key, stream=True)
    assert again.body == first.body
    assert again.body.endswith(b"data: [DONE]\n\n")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert again.headers["x-request-id"] == first.headers["x-request-id"]


def test_a_stream_that_began_anew_is_given_again_without_what_was_lost(
    house: House, client: redis.Redis, key: str
) -> None:
    first = ask(house, key, "sim/restart", stream=True)
    record = f"sluice:request:{first.headers['x-request-id']}"
    eventually(lambda: client.hget(record, "status") == "completed")
    again = ask(house, key, "sim/restart", stream=True)
    assert b'"kept"' in again.body
    assert b'"lost"' not in again.body


def test_embeddings_come_again(house: House, key: str) -> None:
    body, headers = {"model": "sim/echo", "input": "Hi"}, {"Idempotency-Key": key}
    first = house.ask("POST", "/v1/embeddings", body, headers)
    again = house.ask("POST", "/v1/embeddings", body, headers)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["idempotency-replayed"] == "true"


def test_another_body_under_the_same_key_is_a_conflict(house: House, key: str) -> None:
    ask(house, key)
    answer = ask(house, key, temperature=1)
    assert (answer.status, answer.error["code"]) == (422, "idempotency_conflict")
    assert answer.headers["x-should-retry"] == "false"
    assert ask(house, key).status == 200


def test_a_key_is_the_routes_own(house: House, key: str) -> None:
    ask(house, key)
    body = {"model": "sim/echo", "input": "Hi"}
    other = house.ask("POST", "/v1/embeddings", body, {"Idempotency-Key": key})
    assert other.status == 200
    assert "idempotency-replayed" not in other.headers


def test_while_the_first_is_under_way_others_are_told_when_to_come_back(
    house: House, client: redis.Redis, pool: ThreadPoolExecutor, key: str
) -> None:
    first = begin(house, client, pool, key)
    answer = ask(house, key, "sim/silent", user=key, stream=False)
    assert (answer.status, answer.error["code"]) == (409, "idempotency_in_progress")
    assert answer.headers["x-should-retry"] == "true"
    assert int(answer.headers["retry-after"]) >= 1
    assert int(answer.headers["retry-after-ms"]) >= 1000
    house.go(key)
    assert first.result().status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_who_asks_for_it_is_attached_to_the_first(
    house: House, client: redis.Redis, pool: ThreadPoolExecutor, key: str, stream: bool
) -> None:
    first = begin(house, client, pool, key, stream=stream)
    others = [pool.submit(attach, house, key, user=key, stream=stream) for _ in range(3)]
    # One whose client does not wait so long leaves the others their answer.
    headers = {
        "Idempotency-Key": key, "X-Sluice-On-Duplicate": "attach", "X-Request-Timeout": "0.3",
    }  # fmt: skip
    body = chat_body("sim/silent", user=key, stream=stream)
    assert house.ask("POST", _CHAT, body, headers).status == 504
    house.go(key)
    answers = [other.result() for other in others]
    assert {answer.body for answer in answers} == {first.result().body}
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert ids == {first.result().headers["x-request-id"]}
    assert "idempotency-replayed" not in answers[0].headers


def test_who_is_attached_hears_of_the_firsts_failure(
    house: House, client: redis.Redis, key: str
) -> None:
    body, headers = chat_body("sim/slow", stream=True, user=key), {"Idempotency-Key": key}
    also = {**headers, "X-Sluice-On-Duplicate": "attach"}
    with (
        house.open("POST", _CHAT, body, headers) as first,
        house.open("POST", _CHAT, body, also) as second,
    ):
        assert second.readline().startswith(b"data: ")
        client.hset(f"sluice:request:{first.getheader('x-request-id')}", "cancel", "operator")
        house.go(key)
        assert b'"code":"cancelled"' in second.read()


def test_after_a_failure_the_key_may_be_used_for_another_request(house: House, key: str) -> None:
    assert ask(house, key, "sim/overloaded").status == 503
    assert ask(house, key, "sim/echo").status == 200


def test_an_unknown_choice_is_refused(house: House) -> None:
    answer = house.ask("POST", _CHAT, chat_body(), {"X-Sluice-On-Duplicate": "wait"})
    assert answer.status == 400
    assert "attach" in str(answer.error["message"])


@pytest.mark.parametrize("key", ['""', '"open', "a\tb", "x" * 256, '"' + "x" * 256 + '"', "ä"])
def test_what_is_no_key_is_refused(house: House, key: str) -> None:
    answer = house.ask("POST", _CHAT, chat_body(), {"Idempotency-Key": key})
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        ('"a b"', "a b"),
        (r'"a\"b\\"', 'a"b\\'),
        ('"abc"; p=1', "abc"),
        ('"' + "x" * 255 + '"', "x" * 255),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_is_a_string_with_or_without_quotes(written: str, meant: str) -> None:
    assert _key(written) == meant


@pytest.mark.parametrize("written", ["", '"', 'a"\x00', r'"\x"', '"a"b'])
def test_what_is_no_string_is_no_key(written: str) -> None:
    with pytest.raises(BadRequest):
        _key(written)


def test_of_the_key_only_a_hash_is_stored(house: House, client: redis.Redis, key: str) -> None:
    ask(house, key + "-secret")
    for name in client.scan_iter("*"):
        assert "secret" not in name
    found = client.dump("sluice:requests:default") or b""
    assert b"-secret" not in found


def test_chat_comes_again_frame_for_frame(house: House, key: str) -> None:
    body, headers = {"message": "Hi"}, {"Idempotency-Key": key}
    first = house.ask("POST", "/chat", body, headers)
    again = house.ask("POST", "/chat", body, headers)
    assert again.body == first.body
    assert again.headers["idempotency-replayed"] == "true"
    assert frames(again.body)[-1]["type"] == "complete"
    assert frames(again.body)[0]["task_id"] == first.headers["x-request-id"]


def test_chat_async_gives_the_first_task_again(house: House, client: redis.Redis, key: str) -> None:
    body = {"message": "Hi", "model": "sim/silent", "user": key}
    first = house.ask("POST", "/chat/async", body, {"Idempotency-Key": key})
    again = house.ask("POST", "/chat/async", body, {"Idempotency-Key": key})
    assert (first.status, again.status) == (202, 202)
    assert again.json == first.json
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    house.go(key)
    record = f"sluice:request:{first.json['task_id']}"
    eventually(lambda: client.hget(record, "status") == "completed")
    assert house.ask("POST", "/chat/async", body, {"Idempotency-Key": key}).json == first.json


def test_a_key_is_its_tenants_own(start_house: StartHouse) -> None:
    house = start_house(TENANTS)

    def ask_as(tenant: str) -> Answer:
        headers = {"Idempotency-Key": "k", **bearer(tenant)}
        return house.ask("POST", _CHAT, chat_body("fast"), headers)

    first, other, again = ask_as("acme"), ask_as("globex"), ask_as("acme")
    assert {first.status, other.status, again.status} == {200}
    assert first.headers["x-request-id"] != other.headers["x-request-id"]
    assert again.headers["x-request-id"] == first.headers["x-request-id"]


def test_another_gateway_gives_the_running_answer_whole(start_house: StartHouse) -> None:
    house = start_house()
    other = start_house(standin=False)
    with ThreadPoolExecutor(2) as pool, redis.Redis.from_url(house.redis_url, protocol=2) as link:
        first = pool.submit(ask, house, "k", "sim/silent", user="u", stream=False)
        eventually(lambda: link.xlen("sluice:requests:default") == 1)
        second = pool.submit(attach, other, "k", user="u", stream=False)
        record = f"sluice:request:{only_request(link)}"
        eventually(lambda: len((link.hget(record, "inboxes") or b"").split()) == 2)
        house.go("u")
        assert second.result().body == first.result().body
        assert second.result().status == 200


def only_request(link: redis.Redis) -> str:
    """Give the id of the one request that is there."""
    [name] = link.scan_iter("sluice:request:*")
    return str(name.decode().rpartition(":")[2])


def test_who_leaves_does_not_cancel_what_it_was_attached_to(start_house: StartHouse) -> None:
    house = start_house(
        "gateway: {on_disconnect: cancel}\nproviders: {sim: {kind: simulated, any_model: true}}\n"
        "models: {fast: {deployments: [{provider: sim, model: echo}]}}"
    )
    body, headers = chat_body("sim/slow", stream=True, user="u"), {"Idempotency-Key": "k"}
    with house.open("POST", _CHAT, body, headers) as first:
        assert first.readline().startswith(b"data: ")
        also = {**headers, "X-Sluice-On-Duplicate": "attach"}
        with house.open("POST", _CHAT, body, also) as second:
            assert second.readline().startswith(b"data: ")
        request_id = first.getheader("x-request-id")
        eventually(lambda: f"Client went away  request={request_id}" in house.process.output)
        house.go("u")
        assert first.read().endswith(b"data: [DONE]\n\n")


def test_too_few_replicas_are_a_503_and_what_was_accepted_is_cancelled(
    start_house: StartHouse,
) -> None:
    house = start_house(
        "durability: {wait_replicas: 1, wait_ms: 50}\n"
        "providers: {sim: {kind: simulated, any_model: true}}\n"
        "models: {fast: {deployments: [{provider: sim, model: echo}]}}"
    )
    timer = threading.Timer(0.5, house.go, ["r"])
    timer.start()
    answer = house.chat("sim/silent", user="r")
    assert (answer.status, answer.error["code"]) == (503, "not_replicated")
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["retry-after"] == "1"
    with redis.Redis.from_url(house.redis_url, protocol=2, decode_responses=True) as link:
        record = f"sluice:request:{answer.headers['x-request-id']}"
        assert link.hget(record, "cancel") == "not_replicated"
    timer.join()
