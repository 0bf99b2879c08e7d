"""Redis is full: nothing new comes in, what was accepted ends, and then all goes on."""

import time

import pytest
import redis

from tests.crash.conftest import BuildHouse
from tests.crowd import Crowd
from tests.house_of_sluice import House, requests
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash


def test_what_was_accepted_ends_while_memory_is_full(build_house: BuildHouse) -> None:
    deployment = {"provider": "sim", "model": "slow:ttft_ms=400", "limits": {"concurrency": 4}}
    house = build_house(models={"narrow": {"deployments": [deployment]}})
    house.start(workers=2)
    reckoning = Reckoning(house.client, house.names)
    direct = requests(10, "sim/slow:ttft_ms=1500,tokens=20,tps=20", callback_queue="answers")
    narrow = requests(20, "narrow", "n")
    ids = [f"r{number}" for number in range(10)] + [f"n{number}" for number in range(20)]
    with Crowd(house.url, 30, "sim/slow:ttft_ms=1500,tokens=20,tps=20") as crowd:
        house.xadd([*direct, *narrow])
        eventually(lambda: house.upstream.number("active") == 44, what="all in mid-call")
        _fill_memory(house)
        status, told = house.ask(
            "POST",
            "/v1/chat/completions",
            {"model": "fast", "messages": [{"role": "user", "content": "x"}]},
        )
        assert (status, told["error"]["code"]) == (503, "queue_full")  # type: ignore[index]
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            house.xadd(requests(1, name="refused"))
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    ids += [one.request_id for one in heard]
    reckoning.check(ids)
    # Nobody was taken for dead only because no memory was left for signs of life.
    assert more_than_one(house.upstream.calls(), ids) == set()
    assert house.client.xlen("answers") == 10
    _make_room(house)
    house.xadd(requests(10, "narrow", "later"))
    with Crowd(house.url, 10, "fast") as crowd:
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    reckoning.check([*ids, *(one.request_id for one in heard), *(f"later{n}" for n in range(10))])


@pytest.mark.slow
def test_a_house_outlives_a_long_time_without_memory(house: House, reckoning: Reckoning) -> None:
    """Longer than the signs of life of workers and gateways last, and the inbox is trimmed."""
    house.start(workers=2)
    _fill_memory(house)
    ended = time.monotonic() + 5.2
    refused = 0
    while time.monotonic() < ended:
        status, _ = house.ask("POST", "/chat/async", {"message": "hi", "model": "fast"})
        assert status == 503
        refused += 1
        time.sleep(0.2)
    assert refused
    status, health = house.ask("GET", "/health/full")
    assert status == 200
    assert len(health["workers"]) == 2  # type: ignore[arg-type]
    _make_room(house)
    with Crowd(house.url, 20, "sim/slow:ttft_ms=300,tokens=10,tps=20") as crowd:
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    reckoning.check([one.request_id for one in heard])


@pytest.mark.slow
def test_trimming_goes_on_while_memory_is_full(build_house: BuildHouse) -> None:
    house = build_house(
        workers={"liveness_s": 1, "scan_s": 0.3}, retention={"max_entries": 50, "replies_s": 60}
    )
    house.start(workers=2)
    lane = house.names.requests["default"]
    eventually(lambda: house.client.exists(f"{house.names.prefix}:duty:trim"), what="a round")
    house.xadd(requests(200))
    eventually(lambda: house.upstream.number("finished") == 200, what="all answers")
    _fill_memory(house)
    eventually(lambda: house.client.xlen(lane) <= 50, what="the trimming of the requests")
    eventually(lambda: house.client.xlen(house.names.done) <= 50, what="the trimming of `done`")


def _fill_memory(house: House) -> None:
    """Leave no memory for anything that needs some, whatever is freed in the meantime."""
    used = int(house.client.info("memory")["used_memory"])
    house.client.config_set("maxmemory", used // 2)


def _make_room(house: House) -> None:
    house.client.config_set("maxmemory", 0)
