"""`Prefer: respond-async`: a 202 for who asked for it, and for nobody else."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
import redis
from starlette.types import Message

from gateway.exchange import Exchange
from gateway.preference import Later, later_of
from pipeline import event as events
from tests.gateway.conftest import Answer, House, StartHouse, chat_body
from tests.gateway.test_openai_wire import told
from tests.waiting import eventually

Rows = list[tuple[str, dict[str, str]]]

_CHAT = "/v1/chat/completions"


def prefer(house: House, preference: str, model: str = "sim/echo", **fields: object) -> Answer:
    return house.ask("POST", _CHAT, chat_body(model, **fields), {"Prefer": preference})


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Ask at the same time."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_without_a_wait_it_is_taken_at_once(house: House, client: redis.Redis) -> None:
    answer = prefer(house, "respond-async", "sim/silent", user="at-once")
    request_id = answer.headers["x-request-id"]
    assert answer.status == 202
    assert answer.headers["location"] == f"/v1/requests/{request_id}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert int(answer.headers["retry-after"]) >= 1
    told = answer.json
    assert (told["id"], told["object"], told["status"]) == (
        request_id, "sluice.request", "queued",
    )  # fmt: skip
    assert told["model"] == "sim/silent"
    assert told["url"] == answer.headers["location"]
    house.go("at-once")
    state = eventually(
        lambda: (s := house.ask("GET", str(told["url"])).json)["status"] == "completed" and s
    )
    assert "Hello, world!" in str(state)


def test_what_is_done_within_the_wait_is_answered(house: House) -> None:
    answer = prefer(house, "respond-async, wait=10")
    assert answer.status == 200
    assert answer.json["object"] == "chat.completion"
    assert "location" not in answer.headers


def test_what_takes_longer_is_taken(house: House) -> None:
    began = time.monotonic()
    answer = prefer(house, "respond-async, wait=1", "sim/silent", user="longer")
    assert 1 <= time.monotonic() - began < 3
    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async, wait=1"
    house.go("longer")


def test_embeddings_can_be_taken_too(house: House) -> None:
    body = {"model": "sim/never", "input": "Hi"}
    answer = house.ask("POST", "/v1/embeddings", body, {"Prefer": "respond-async"})
    assert (answer.status, answer.json["object"]) == (202, "sluice.request")


def test_a_failure_within_the_wait_is_told(house: House) -> None:
    answer = prefer(house, "respond-async, wait=10", "sim/overloaded")
    assert (answer.status, answer.error["code"]) == (503, "provider_exhausted")


def test_a_stream_that_begins_within_the_wait_is_a_stream(house: House) -> None:
    answer = prefer(house, "respond-async, wait=10", stream=True)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_stream_that_does_not_begin_is_taken_and_can_be_read_later(house: House) -> None:
    answer = prefer(house, "respond-async, wait=1", "sim/silent", stream=True, user="stream")
    assert (answer.status, answer.json["object"]) == (202, "sluice.request")
    house.go("stream")
    shown = house.ask("GET", f"{answer.headers['location']}/stream")
    assert b"[DONE]" in shown.body


def test_the_wait_of_a_stream_ends_before_its_first_ping(start_house: StartHouse) -> None:
    house = start_house(pace='{"ping_s":2}')
    answer = prefer(house, "respond-async, wait=20", "sim/never", stream=True)
    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async, wait=1"
    assert b"ping" not in answer.body


@pytest.mark.parametrize(
    "preference", ["", "wait=1", "return=minimal", "respond-asynchronously", "x=respond-async"]
)
def test_nobody_gets_a_202_unasked(house: House, preference: str) -> None:
    assert prefer(house, preference).status == 200


def test_a_request_that_is_taken_is_patient_and_has_no_deadline_of_ours(house: House) -> None:
    body = chat_body("sim/tell")
    event = told(house, body, Prefer="respond-async, wait=10")
    assert event["patient"] is True
    assert not event.get("deadline")
    timed = told(house, body, Prefer="respond-async, wait=10", X_Request_Timeout="1000")
    assert float(str(timed["deadline"])) - float(str(timed["created"])) == pytest.approx(1000)


def test_who_waits_for_a_whole_answer_is_not_patient(house: House) -> None:
    event = told(house, chat_body("sim/tell"))
    assert "patient" not in event
    assert event["deadline"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (_CHAT, chat_body("sim/never", stream=True)),
        ("/chat", {"message": "Hi", "model": "sim/never"}),
        ("/chat/async", {"message": "Hi", "model": "sim/never"}),
    ],
)
def test_streams_and_tasks_are_patient(
    house: House, client: redis.Redis, path: str, body: dict[str, object]
) -> None:
    house.ask("POST", path, body, {"X-Request-Timeout": "0.3"})
    [(_, fields)] = cast("Rows", client.xrevrange("sluice:requests:default", count=1))
    event = events.decode(fields["event"].encode())
    assert event.patient
    assert event.deadline - event.created == pytest.approx(0.3)


def test_its_timeout_ends_the_wait(house: House) -> None:
    headers = {"Prefer": "respond-async, wait=10", "X-Request-Timeout": "0.3"}
    answer = house.ask("POST", _CHAT, chat_body("sim/never"), headers)
    assert (answer.status, answer.error["code"]) == (504, "queue_timeout")
    assert answer.headers["x-should-retry"] == "true"


def test_the_wait_is_no_longer_than_our_own_timeout(start_house: StartHouse) -> None:
    house = start_house(
        "gateway: {request_timeout_s: 1}\nproviders: {sim: {kind: simulated, any_model: true}}\n"
        "models: {fast: {deployments: [{provider: sim, model: echo}]}}"
    )
    answer = prefer(house, "respond-async, wait=100", "sim/never")
    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async, wait=1"


def test_with_a_key_a_repetition_is_told_of_the_first(
    house: House, pool: ThreadPoolExecutor
) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "asynchronous"}
    body = chat_body("sim/silent", user="keyed")
    first, again = (house.ask("POST", _CHAT, body, headers) for _ in range(2))
    assert (first.status, again.status) == (202, 202)
    assert again.headers["location"] == first.headers["location"]
    house.go("keyed")
    done = eventually(lambda: (a := house.ask("POST", _CHAT, body, headers)).status == 200 and a)
    assert isinstance(done, Answer)
    assert done.headers["idempotency-replayed"] == "true"
    assert done.headers["x-request-id"] == first.headers["x-request-id"]


@pytest.mark.parametrize(
    ("fields", "later"),
    [
        ([b"respond-async"], Later()),
        ([b"Respond-Async, WAIT=20"], Later(20)),
        ([b"wait=5", b"respond-async; x=y"], Later(5)),
        ([b"wait=5, respond-async, wait=9"], Later(5)),
        ([b"respond-async, wait=soon"], Later()),
        ([b"respond-async, wait=-1"], Later()),
        ([b"respond-async, wait=99999999999999999999"], Later()),
        ([b"handling=lenient"], None),
        ([], None),
    ],
)
@pytest.mark.anyio
async def test_the_preference_is_read_as_the_rfc_says(
    fields: list[bytes], later: Later | None
) -> None:
    scope = {"type": "http", "headers": [(b"prefer", field) for field in fields]}
    assert later_of(Exchange(scope, _hear, _say)) == later


async def _hear() -> Message:
    raise AssertionError


async def _say(_: Message) -> None:
    raise AssertionError
