"""A call that takes long is not taken for a dead one."""

import pytest

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import requests
from tests.reckoning import Reckoning, more_than_one

pytestmark = pytest.mark.crash

_LIVENESS = {"liveness_s": 0.5, "scan_s": 0.1}


@pytest.mark.parametrize("module", ["workers.app", "tests.crash.burning"])
def test_a_call_ten_times_longer_than_the_liveness_runs_once(
    build_house: BuildHouse, module: str
) -> None:
    house = build_house(workers=_LIVENESS)
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    long, _ = house.start_worker(module=module)
    if module != "workers.app":
        long.await_output("burning")
    events = requests(5, "sim/long:ttft_ms=5200")
    events += requests(5, "sim/long:ttft_ms=1000,tokens=42,tps=10", "s", stream=True)
    house.xadd(events)
    house.start_worker()
    ids = [str(event["request_id"]) for event in events]
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()
    assert house.counter("claimed") == 0
