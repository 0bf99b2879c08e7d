"""Health: what is told, and what happens while Redis or the workers are away."""

import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import redis

from gateway.health import MOST_COUNTED
from pipeline.embedded.redis_server import EmbeddedRedis
from tests.gateway.conftest import House, StartHouse
from tests.waiting import eventually


def streams(house: House) -> dict[str, dict[str, object]]:
    told = house.ask("GET", "/health/full").json["streams"]
    return {str(each["name"]): each for each in msgspec.convert(told, list[dict[str, object]])}


def test_health_tells_redis_workers_gateways_and_streams(house: House) -> None:
    assert house.ask("GET", "/health").json == {"status": "ok"}
    house.chat()
    answer = house.ask("GET", "/health/full")
    assert answer.status == 200
    told = answer.json
    shown = msgspec.convert(told["redis"], dict[str, object])
    assert shown["reachable"] is True
    assert shown["maxmemory_policy"] == "noeviction"
    assert str(shown["version"])[0].isdigit()
    assert told["workers"] == ["standin"]
    assert len(msgspec.convert(told["gateways"], list[str])) == 1
    names = {"requests:high", "requests:default", "requests:low", "done", "dead"}
    assert set(streams(house)) == names | {"gate", "call", "respond"}


def test_lag_is_counted_and_a_group_that_holds_entries_is_named(start_house: StartHouse) -> None:
    house = start_house(
        "retention: {max_entries: 100}\nproviders: {sim: {kind: simulated, any_model: true}}\n"
        "models: {fast: {deployments: [{provider: sim, model: echo}]}}"
    )
    with redis.Redis.from_url(house.redis_url, protocol=2) as link:
        link.xgroup_create("sluice:done", "ledger", "0", mkstream=True)
        link.xgroup_create("sluice:gate", "gate", "0", mkstream=True)
        with link.pipeline() as pipe:
            for _ in range(MOST_COUNTED + 5):
                pipe.xadd("sluice:done", {"event": "{}"})
            pipe.xadd("sluice:gate", {"event": "{}"})
            pipe.execute()
        told = streams(house)
        assert told["done"]["length"] == MOST_COUNTED + 5
        ledger = {"name": "ledger", "consumers": 0, "pending": 0, "lag": f"{MOST_COUNTED}+"}
        assert told["done"]["groups"] == [ledger]
        assert told["done"]["held_by"] == "ledger"
        assert told["gate"]["groups"] == [{"name": "gate", "consumers": 0, "pending": 0, "lag": 1}]
        link.xreadgroup("gate", "me", {"sluice:gate": ">"})
        assert streams(house)["gate"]["groups"] == [
            {"name": "gate", "consumers": 1, "pending": 1, "lag": 0}
        ]
    answer = house.ask("GET", "/health/full").json
    assert answer["status"] == "degraded"
    assert "ledger" in str(answer["warnings"])


def test_without_a_worker_health_is_down(start_house: StartHouse) -> None:
    house = start_house(standin=False)
    answer = house.ask("GET", "/health/full")
    assert (answer.status, answer.json["status"]) == (503, "down")


def test_redis_away_is_a_503_everywhere_and_mends_by_itself(
    start_house: StartHouse, own_redis: EmbeddedRedis
) -> None:
    house = start_house(pace='{"health_s":0.5}', url=own_redis.url)
    assert house.chat().status == 200
    task_id = house.ask("POST", "/chat/async", {"message": "Hi"}).json["task_id"]
    own_redis.kill()
    start = time.monotonic()
    down = house.ask("GET", "/health/full")
    assert (down.status, down.json["status"]) == (503, "down")
    assert time.monotonic() - start < 2
    assert house.ask("GET", "/health").status == 200
    for refused in (
        house.chat(),
        house.ask("POST", "/chat/async", {"message": "Hi"}),
        house.ask("GET", f"/chat/{task_id}"),
        house.ask("GET", f"/v1/requests/{task_id}/stream"),
        house.ask("GET", "/stream/any"),
    ):
        assert (refused.status, refused.error["code"]) == (503, "redis_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-should-retry"] == "true"
    own_redis.start()
    eventually(lambda: house.chat().status == 200, 15)
    eventually(lambda: house.ask("GET", "/health/full").status == 200, 15)


def test_clients_that_wait_while_redis_restarts_get_their_replies(
    start_house: StartHouse, own_redis: EmbeddedRedis
) -> None:
    house = start_house(url=own_redis.url)
    with ThreadPoolExecutor(8) as pool:
        waiting = [
            pool.submit(house.chat, "sim/silent", stream=stream, user="restart")
            for stream in (True, False) * 4
        ]
        with redis.Redis.from_url(own_redis.url, protocol=2) as link:
            eventually(lambda: link.xlen("sluice:requests:default") == 8)
        own_redis.restart()
        house.go("restart")
        answers = [future.result() for future in waiting]
    assert [answer.status for answer in answers] == [200] * 8
    assert all(b"[DONE]" in answer.body for answer in answers[::2])


def test_a_full_redis_refuses_with_queue_full(
    start_house: StartHouse, own_redis: EmbeddedRedis
) -> None:
    house = start_house(url=own_redis.url)
    with redis.Redis.from_url(own_redis.url, protocol=2) as link:
        link.config_set("maxmemory", "1")
        answer = house.chat()
        assert (answer.status, answer.error["code"]) == (503, "queue_full")
        assert answer.headers["retry-after"] == "5"
        link.config_set("maxmemory", "0")
    assert house.chat().status == 200
