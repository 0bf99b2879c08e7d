"""All signs of life lapse together because Redis stood still: nobody is robbed for that."""

import os
import signal
import time

import pytest

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import requests
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("how", ["frozen", pytest.param("killed", marks=pytest.mark.slow)])
def test_workers_do_not_rob_each_other_after_redis_was_away(
    build_house: BuildHouse, how: str
) -> None:
    house = build_house(workers={"liveness_s": 0.9, "scan_s": 0.05})
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    for worker in [house.spawn_worker() for _ in range(3)]:
        house.await_worker(worker)
    house.xadd(requests(45, "sim/long:ttft_ms=2300"))
    ids = [f"r{number}" for number in range(45)]
    eventually(lambda: house.upstream.number("active") == 45, what="all in mid-call")
    assert house.redis.pid
    if how == "frozen":
        os.kill(house.redis.pid, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(house.redis.pid, signal.SIGCONT)
    else:
        house.redis.kill()
        time.sleep(1.2)
        house.redis.start()
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()
    assert house.counter("claimed") == 0
