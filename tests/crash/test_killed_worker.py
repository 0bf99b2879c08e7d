"""A worker is killed with all its processes: others take over, and nobody is answered twice."""

import time
from functools import partial

import pytest

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import House, kill_family, requests
from tests.processes import Spawned
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash

_SLOW = "sim/slow:ttft_ms=1500,tokens=4"


def test_two_hundred_requests_survive_a_killed_crew_of_workers(
    house: House, reckoning: Reckoning
) -> None:
    _lose_one_of_two(house, reckoning, _SLOW)


@pytest.mark.slow
def test_recovery_begins_within_twenty_seconds_at_default_settings(build_house: BuildHouse) -> None:
    house = build_house(workers={"liveness_s": 12, "scan_s": 3})
    recovery_s = _lose_one_of_two(
        house, Reckoning(house.client, house.names), "sim/slow:ttft_ms=25000,tokens=4"
    )
    assert recovery_s < 20


def _lose_one_of_two(house: House, reckoning: Reckoning, model: str) -> float:
    """Kill one of two crews in mid-call; give how long it took until the other took over."""
    house.start_simulated()
    crews = [house.spawn_crew(), house.spawn_crew()]
    doomed, survivor = [house.await_worker(crew) for crew in crews]
    events = requests(100, model) + requests(100, model, "s", stream=True)
    ids = {str(event["request_id"]) for event in events}
    for at in range(0, len(events), 10):
        house.xadd(events[at : at + 10])
    eventually(lambda: house.upstream.number("active") == len(ids), what="all in mid-call")
    kill_family(crews[0])
    began = time.monotonic()
    held = house.pending("call", doomed)
    assert held
    assert house.pending("call", survivor), "the other worker had nothing"
    eventually(lambda: house.counter("claimed"), 30.0, "the first claim")
    recovery_s = time.monotonic() - began
    reckoning.check(ids, 60.0)
    assert more_than_one(house.upstream.calls(), ids) <= held
    assert max(house.upstream.calls().values()) == 2
    return recovery_s


def _have_ended(reckoning: Reckoning, count: int) -> bool:
    return len(reckoning.ended()) > count


def test_a_storm_of_kills_loses_and_doubles_nothing(house: House, reckoning: Reckoning) -> None:
    house.start_simulated()
    workers = [house.start_worker() for _ in range(2)]
    everything: list[str] = []
    for round_ in range(3):
        events = requests(
            300, "sim/quick:ttft_ms=30,tokens=2", f"k{round_}-", stream=bool(round_ % 2)
        )
        everything += [str(event["request_id"]) for event in events]
        for at in range(0, len(events), 25):
            house.xadd(events[at : at + 25])
        some = 300 * round_ + 20
        eventually(partial(_have_ended, reckoning, some), what="some of this round")
        doomed: Spawned = workers[round_ % 2][0]
        kill_family(doomed)
        workers[round_ % 2] = house.start_worker()
    reckoning.check(everything)
