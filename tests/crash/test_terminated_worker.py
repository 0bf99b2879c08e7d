"""A worker is asked to end: it finishes what it has begun, takes nothing new, and says so."""

import signal

import pytest

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import House, requests
from tests.processes import Spawned
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("supervised", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_terminated_worker_finishes_its_calls_and_takes_nothing_new(
    house: House, reckoning: Reckoning, supervised: bool
) -> None:
    house.start_simulated()
    worker: Spawned = house.spawn_crew() if supervised else house.spawn_worker()
    house.await_worker(worker)
    begun = requests(20, "sim/slow:ttft_ms=1300", "b") + requests(
        20, "sim/slow:ttft_ms=500,tokens=20,tps=20", "s", stream=True
    )
    house.xadd(begun)
    eventually(lambda: house.upstream.number("active") == 40, what="all in mid-call")
    worker.process.send_signal(signal.SIGTERM)
    # The readers have stopped when the worker's last hop is the only one that still reads.
    eventually(lambda: _readers(house) <= {"respond", "callback"}, what="the end of reading")
    house.xadd(requests(10, "fast", "n"))
    assert worker.wait(15.0) == 0
    ids = [str(event["request_id"]) for event in begun]
    assert reckoning.statuses(ids) == {"completed": 40}
    assert more_than_one(house.upstream.calls(), ids) == set()
    assert house.upstream.calls().keys() == set(ids), "something new was taken"
    house.start_worker()
    reckoning.check([*ids, *(f"n{number}" for number in range(10))])


def _readers(house: House) -> set[str]:
    names = [str(row["name"]) for row in house.client.client_list()]
    hops = {name.split("-")[1] for name in names if name.startswith("sluice-")}
    return hops & {"route", "gate", "call", "respond", "callback"}


def test_what_a_worker_cannot_finish_in_its_grace_goes_to_another(build_house: BuildHouse) -> None:
    house = build_house(workers={"grace_s": 0.5})
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    worker, _ = house.start_worker()
    short, long = requests(10, "sim/a:ttft_ms=600", "a"), requests(10, "sim/b:ttft_ms=4000", "b")
    house.xadd([*short, *long])
    eventually(lambda: house.upstream.number("active") == 20, what="all in mid-call")
    house.spawn_worker()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(15.0) == 0
    ids = [str(event["request_id"]) for event in (*short, *long)]
    reckoning.check(ids)
    again = more_than_one(house.upstream.calls(), ids)
    assert again == {str(event["request_id"]) for event in long}
    assert house.counter("claimed") == 10
    assert max(house.upstream.calls().values()) == 2
    assert "Left entries" in worker.output


@pytest.mark.slow
def test_a_rolling_restart_under_load_calls_nothing_twice(
    house: House, reckoning: Reckoning
) -> None:
    house.start_simulated()
    workers = [house.start_worker()[0] for _ in range(2)]
    ids: list[str] = []
    for number, worker in enumerate(workers):
        events = requests(150, "sim/quick:ttft_ms=100", f"q{number}-")
        ids += [str(event["request_id"]) for event in events]
        house.xadd(events)
        worker.process.send_signal(signal.SIGTERM)
        house.start_worker()
    assert [worker.wait(15.0) for worker in workers] == [0, 0]
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()
