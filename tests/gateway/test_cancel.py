"""Cancelling over HTTP, wherever a request is, with real workers; and what its client is told."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import openai
import pytest
import redis

from tests.gateway.conftest import Answer, House, StartHouse, chat_body
from tests.gateway.test_callers import CONFIG as TENANTS
from tests.gateway.test_callers import bearer
from tests.gateway.test_openai_client import MESSAGES, connect
from tests.gateway.test_plain import finished
from tests.gateway.test_through_workers import all_hops
from tests.waiting import eventually

pytestmark = pytest.mark.journey

#: An answer that takes ten seconds.
_LONG = "sim/sim:tokens=500,tps=50"

_CONFIG = """
gateway: {{default_model: fast}}
simulate: {{port: {port}}}
workers: {{scan_s: 0.2, liveness_s: 1}}
retry: {{quick: 0}}
providers: {{sim: {{kind: simulated, base_url: "http://127.0.0.1:{port}/v1", any_model: true}}}}
models:
  fast: {{deployments: [{{provider: sim, model: fast}}]}}
  one:
    deployments: [{{provider: sim, model: "one:tokens=500,tps=50", limits: {{concurrency: 1}}}}]
  away: {{deployments: [{{provider: sim, model: "away:error=503"}}]}}
"""


@pytest.fixture(scope="module")
def whole(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a gateway with a worker that looks often for what was cancelled."""
    with all_hops(redis_binary, tmp_path_factory.mktemp("cancel"), _CONFIG) as house:
        yield house


@pytest.fixture
def client(whole: House) -> Iterator[redis.Redis]:
    """Look into its Redis."""
    with redis.Redis.from_url(whole.redis_url, protocol=2, decode_responses=True) as link:
        yield link


def later(house: House, model: str, **fields: object) -> str:
    """Put a request in that nobody waits for."""
    answer = house.ask("POST", "/chat/async", {"message": "Hi", "model": model, **fields})
    assert answer.status == 202
    return str(answer.json["task_id"])


def cancel(house: House, request_id: str) -> Answer:
    return house.ask("DELETE", f"/v1/requests/{request_id}")


def state(house: House, request_id: str) -> dict[str, object]:
    return house.ask("GET", f"/v1/requests/{request_id}").json


def until(house: House, request_id: str, status: str, at: str = "") -> dict[str, object]:
    """Wait until a request is in a status and a place; give its state."""

    def there() -> dict[str, object] | None:
        told = state(house, request_id)
        return told if told["status"] == status and at in ("", told["at"]) else None

    return eventually(there, 20, f"{request_id} is {status}") or {}


def known(client: redis.Redis) -> set[str]:
    """List the ids of all requests."""
    return {str(key).rpartition(":")[2] for key in client.scan_iter("sluice:request:*")}


def latest(client: redis.Redis, before: set[str]) -> str:
    """Wait for the one request that was not there before."""
    (request_id,) = eventually(lambda: known(client) - before)
    return request_id


def test_who_waits_for_capacity_is_cancelled_at_once(whole: House) -> None:
    first = later(whole, "one")
    until(whole, first, "running")
    second = later(whole, "one")
    until(whole, second, "waiting")
    told = cancel(whole, second)
    assert (told.status, told.json["status"], told.json["at"]) == (200, "cancelled", "cancelled")
    assert told.json["attempts"] == 0
    assert "cancelling" not in told.json
    error = told.json["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["metadata"]["request_id"]) == ("cancelled", second)
    assert cancel(whole, first).status == 200


def test_who_is_on_the_ladder_tells_when_it_goes_on_and_is_cancelled(whole: House) -> None:
    request_id = later(whole, "away")
    told = until(whole, request_id, "retrying", "ladder")
    assert (told["rung"], told["attempts"], told["leg"]) == (60, 1, 2)
    eta_s = told["eta_s"]
    assert isinstance(eta_s, float)
    assert 40 < eta_s <= 60
    left = datetime.fromisoformat(str(told["retry_at"])) - datetime.now(UTC)
    assert abs(left.total_seconds() - eta_s) < 1
    failure = told["last_failure"]
    assert isinstance(failure, dict)
    assert (failure["cause"], failure["status"]) == ("overloaded", 503)
    assert failure["deployment"] == "sim/away:error=503"
    plain = whole.ask("GET", f"/chat/{request_id}").json
    assert {name: plain[name] for name in ("at", "rung", "retry_at", "last_failure")} == {
        name: told[name] for name in ("at", "rung", "retry_at", "last_failure")
    }
    assert whole.ask("GET", f"/v1/requests/{request_id}/events").json["at"] == "ladder"

    told = cancel(whole, request_id).json
    assert (told["status"], told["at"], told["attempts"]) == ("cancelled", "cancelled", 1)
    assert not {"rung", "retry_at", "last_failure"} & told.keys()


@pytest.mark.parametrize("way", ["DELETE", "POST"])
def test_a_stream_under_way_is_cancelled_with_its_next_delta(
    whole: House, client: redis.Redis, way: str
) -> None:
    request_id = later(whole, _LONG)
    eventually(lambda: client.xlen(f"sluice:reply:{request_id}") > 3)
    path = f"/v1/requests/{request_id}"
    told = whole.ask(way, path if way == "DELETE" else f"{path}/cancel")
    assert (told.status, told.json["status"]) == (200, "cancelled")


def test_what_has_ended_stays_as_it_is(whole: House) -> None:
    request_id = later(whole, "fast")
    finished(whole, request_id)
    before = state(whole, request_id)
    told = cancel(whole, request_id)
    assert (told.status, told.json) == (200, before)
    request_id = later(whole, _LONG)
    first, second = cancel(whole, request_id), cancel(whole, request_id)
    assert (second.status, second.json) == (200, first.json)


def test_what_nobody_knows_is_not_found(whole: House) -> None:
    for method, path in (("DELETE", ""), ("POST", "/cancel")):
        answer = whole.ask(method, f"/v1/requests/nobody{path}")
        assert (answer.status, answer.error["code"]) == (404, "request_not_found")
    refused = whole.ask("PATCH", "/v1/requests/nobody")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, DELETE")


def test_the_official_client_is_told_once_and_does_not_come_again(
    whole: House, client: redis.Redis
) -> None:
    before = known(client)
    with ThreadPoolExecutor(1) as pool, connect(whole, retries=2) as official:
        asked = pool.submit(
            official.chat.completions.create, model=_LONG, messages=MESSAGES, timeout=15
        )
        request_id = latest(client, before)
        until(whole, request_id, "running")
        cancel(whole, request_id)
        with pytest.raises(openai.APIStatusError) as caught:
            asked.result(10)
    error = caught.value
    assert (error.status_code, error.code) == (499, "cancelled")
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert known(client) - before == {request_id}


def test_the_official_clients_stream_ends_with_the_error(whole: House, client: redis.Redis) -> None:
    before = known(client)
    with connect(whole, retries=2) as official:
        stream = official.chat.completions.create(model=_LONG, messages=MESSAGES, stream=True)
        next(stream)
        request_id = latest(client, before)
        cancel(whole, request_id)
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert caught.value.code == "cancelled"
    assert known(client) - before == {request_id}


def test_whose_end_is_still_to_come_is_told_so(start_house: StartHouse) -> None:
    house = start_house(pace='{"cancel_s":0.1}')
    with house.open("POST", "/chat", {"message": "Hi", "model": "sim/slow"}) as answer:
        answer.readline()
        request_id = answer.headers["x-request-id"]
        told = cancel(house, request_id)
        assert (told.status, told.json["cancelling"]) == (202, True)
        assert told.json["status"] == "queued"
        assert state(house, request_id)["cancelling"] is True


def test_a_tenant_cancels_its_own_requests_alone(start_house: StartHouse) -> None:
    house = start_house(TENANTS, pace='{"cancel_s":0.1}')
    body = {"message": "Hi", "model": "sim/never"}
    task = house.ask("POST", "/chat/async", body, bearer("acme")).json["task_id"]
    for method, path in (
        ("DELETE", f"/v1/requests/{task}"),
        ("POST", f"/v1/requests/{task}/cancel"),
    ):
        assert house.ask(method, path).status == 401
        assert house.ask(method, path, None, bearer("globex")).status == 404
    told = house.ask("GET", f"/v1/requests/{task}", None, bearer("acme")).json
    assert "cancelling" not in told
    assert house.ask("DELETE", f"/v1/requests/{task}", None, bearer("acme")).status == 202


def test_a_whole_answer_that_is_cancelled_while_it_waits_is_a_499(
    whole: House, client: redis.Redis
) -> None:
    first = later(whole, "one")
    until(whole, first, "running")
    before = known(client)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(whole.ask, "POST", "/v1/chat/completions", chat_body("one"))
        request_id = latest(client, before)
        until(whole, request_id, "waiting")
        assert cancel(whole, request_id).json["status"] == "cancelled"
        answer = asked.result(10)
    assert (answer.status, answer.error["code"]) == (499, "cancelled")
    assert answer.headers["x-should-retry"] == "false"
    cancel(whole, first)
