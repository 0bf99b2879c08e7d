"""A worker stands still beyond its liveness and goes on: it comes too late, and is told so."""

import signal

import pytest

from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import House, requests, signal_family
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash


def test_a_stopped_worker_makes_no_second_transition(house: House, reckoning: Reckoning) -> None:
    house.start_simulated()
    stopped, name = house.start_worker()
    events = requests(20, "sim/slow:ttft_ms=700,tokens=3")
    events += requests(20, "sim/slow:ttft_ms=700,tokens=3,tps=20", "s", stream=True)
    ids = {str(event["request_id"]) for event in events}
    house.xadd(events)
    eventually(lambda: house.upstream.number("active") == len(ids), what="all in mid-call")
    signal_family(stopped, signal.SIGSTOP)
    house.start_worker()
    reckoning.await_end(ids)
    signal_family(stopped, signal.SIGCONT)
    eventually(lambda: house.counter("refused"), what="a late transition that was refused")
    reckoning.check(ids)
    assert set(house.upstream.calls().values()) == {2}
    eventually(lambda: house.client.exists(house.names.worker(name)), what="the worker's return")
    assert house.pending("call", name) == set()


def test_a_worker_that_went_on_works_again(house: House, reckoning: Reckoning) -> None:
    house.start_simulated()
    stopped, name = house.start_worker()
    signal_family(stopped, signal.SIGSTOP)
    key = house.names.worker(name)
    eventually(lambda: not house.client.exists(key), what="the lapse of its signs of life")
    ids = [str(event["request_id"]) for event in requests(20)]
    house.xadd(requests(20))
    signal_family(stopped, signal.SIGCONT)
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()


def test_a_late_worker_does_not_give_back_what_another_holds(build_house: BuildHouse) -> None:
    deployment = {
        "provider": "sim", "model": "slow:ttft_ms=800", "limits": {"concurrency": 3},
    }  # fmt: skip
    house = build_house(models={"narrow": {"deployments": [deployment]}})
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    stopped, _ = house.start_worker()
    ids = [str(event["request_id"]) for event in requests(12, "narrow")]
    house.xadd(requests(12, "narrow"))
    eventually(lambda: house.upstream.number("active") == 3, what="three in mid-call")
    signal_family(stopped, signal.SIGSTOP)
    house.start_worker()
    # The first worker's calls have long ended when the other one has run them for a while.
    eventually(lambda: house.upstream.number("active") == 3 and house.counter("claimed") >= 3)
    house.upstream.forget()
    signal_family(stopped, signal.SIGCONT)
    reckoning.check(ids)
    assert house.upstream.number("peak") <= 3
