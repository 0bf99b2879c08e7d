"""Equal requests without a key: counted as one where the configuration says so."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from pipeline.embedded import redis_server as embedded
from tests.gateway.conftest import Answer, House, StartHouse, chat_body, starter
from tests.processes import Nursery
from tests.waiting import eventually

_CONFIG = """
gateway: {{default_model: sim/echo}}
idempotency: {{dedupe: {dedupe}, dedupe_s: {dedupe_s}}}
providers: {{sim: {{kind: simulated, any_model: true}}}}
models: {{fast: {{deployments: [{{provider: sim, model: echo}}]}}}}
"""


def configured(dedupe: str, dedupe_s: int = 60) -> str:
    return _CONFIG.format(dedupe=dedupe, dedupe_s=dedupe_s)


@pytest.fixture(scope="module")
def retries(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a gateway that knows the retries of the official clients again."""
    directory = tmp_path_factory.mktemp("retries")
    options = {"appendonly": "no"}
    with embedded.EmbeddedRedis(directory, options=options, binary=redis_binary) as server:
        nursery = Nursery(directory)
        try:
            yield starter(nursery.spawn, directory, server.url)(configured("retries"))
        finally:
            nursery.end()


def ask(house: House, attempt: int, model: str = "sim/echo", **fields: object) -> Answer:
    headers = {"X-Stainless-Retry-Count": str(attempt)}
    return house.ask("POST", "/v1/chat/completions", chat_body(model, **fields), headers)


def request_id(answer: Answer) -> str:
    assert answer.status == 200
    return answer.headers["x-request-id"]


def test_a_retry_is_given_the_answer_of_the_first(retries: House) -> None:
    first, again = ask(retries, 0, seed=1), ask(retries, 1, seed=1)
    assert request_id(again) == request_id(first)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.body == first.body


def test_who_does_not_retry_is_asked_for_anew(retries: House) -> None:
    first, second = ask(retries, 0, seed=2), ask(retries, 0, seed=2)
    assert request_id(first) != request_id(second)
    assert request_id(ask(retries, 2, seed=2)) == request_id(second), "the latest counts"


def test_a_retry_of_what_never_arrived_is_accepted(retries: House) -> None:
    first = ask(retries, 1, seed=3)
    assert "idempotency-replayed" not in first.headers
    assert request_id(ask(retries, 2, seed=3)) == request_id(first)


def test_another_body_is_another_request(retries: House) -> None:
    assert request_id(ask(retries, 0, seed=4)) != request_id(ask(retries, 1, seed=5))


def test_a_retry_is_attached_to_what_is_under_way(retries: House) -> None:
    with (
        ThreadPoolExecutor(2) as pool,
        redis.Redis.from_url(retries.redis_url, protocol=2) as client,
    ):
        before = client.xlen("sluice:requests:default")
        first = pool.submit(ask, retries, 0, "sim/silent", user="under-way")
        eventually(lambda: client.xlen("sluice:requests:default") > before)
        again = pool.submit(ask, retries, 1, "sim/silent", user="under-way")
        retries.go("under-way")
        assert request_id(again.result()) == request_id(first.result())
        assert client.xlen("sluice:requests:default") == before + 1


def test_a_retry_after_a_failure_is_accepted(retries: House) -> None:
    first, again = ask(retries, 0, model="sim/overloaded"), ask(retries, 1, model="sim/overloaded")
    assert (first.status, again.status) == (503, 503)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


def test_a_key_goes_before_what_is_equal(retries: House) -> None:
    first = ask(retries, 0, seed=6)
    headers = {"X-Stainless-Retry-Count": "1", "Idempotency-Key": "mine"}
    keyed = retries.ask("POST", "/v1/chat/completions", chat_body(seed=6), headers)
    assert request_id(keyed) != request_id(first)


def test_a_repeated_task_is_the_first_one(retries: House) -> None:
    def later(attempt: int) -> str:
        headers = {"X-Stainless-Retry-Count": str(attempt)}
        return str(retries.ask("POST", "/chat/async", {"message": "7"}, headers).json["task_id"])

    first = later(0)
    assert later(1) == first
    assert later(0) != first


def test_all_equal_requests_may_count_as_one_for_a_while(start_house: StartHouse) -> None:
    house = start_house(configured("all", dedupe_s=1))
    first = ask(house, 0)
    assert request_id(ask(house, 0)) == request_id(first)
    later = eventually(
        lambda: (found := request_id(ask(house, 0))) != request_id(first) and found, 10
    )
    assert request_id(ask(house, 0)) == later
