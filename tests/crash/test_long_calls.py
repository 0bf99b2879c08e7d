"""A call that takes long is not taken for a dead one."""

import pytest

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import requests
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash


def test_a_call_ten_times_longer_than_the_liveness_runs_once(build_house: BuildHouse) -> None:
    """On a worker that has the CPU for itself, and on one whose threads burn it."""
    house = build_house(workers={"liveness_s": 0.4, "scan_s": 0.1})
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    burning, burner = house.start_worker(module="tests.crash.burning")
    burning.await_output("burning")
    house.xadd(requests(5, "sim/long:ttft_ms=4300", "b"))
    eventually(lambda: len(house.pending("call", burner)) == 5, what="all in mid-call")
    house.start_worker()
    events = requests(30, "sim/long:ttft_ms=500,tokens=39,tps=10", "s", stream=True)
    house.xadd(events)
    ids = [*(f"b{number}" for number in range(5)), *(f"s{number}" for number in range(30))]
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()
    assert house.counter("claimed") == 0
