"""Leases and waiting rooms after a fault: capacity is whole again, and everybody is answered."""

import signal
import time
from functools import partial

import msgspec
import pytest
import redis

from tests.crash.conftest import BuildHouse
from tests.crowd import Crowd
from tests.house_of_sluice import House, kill_family, requests, signal_family
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash

#: Liveness and a scan of the tests' workers, and a second for the work itself.
_WITHIN_S = 3.0


def _narrow(build_house: BuildHouse, places: int, options: str, **limits: int) -> House:
    """Build a house whose model `narrow` has so many places at once."""
    deployment = {
        "provider": "sim", "model": f"narrow:{options}",
        "limits": {"concurrency": places, **limits},
    }  # fmt: skip
    return build_house(models={"narrow": {"deployments": [deployment]}})


def _use(house: House) -> list[float]:
    """Read what is used of the deployment of `narrow`, by the numbers of `ground.lua` less one."""
    with redis.Redis(port=house.redis.port, protocol=2) as client:
        [key] = client.keys(f"{house.names.limits}:use:d:*")
        found: list[float] = msgspec.msgpack.decode(client.get(key))
        return found


def _parked(house: House, least: int) -> None:
    eventually(lambda: house.client.hlen(house.names.parked) >= least, what="a waiting room")


def test_capacity_is_whole_soon_after_a_worker_with_fifty_leases_was_killed(
    build_house: BuildHouse,
) -> None:
    house = _narrow(build_house, 50, "tokens=4", tpm=10_000_000)
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    doomed, name = house.start_worker()
    slow = requests(50, "narrow", simulate={"ttft_ms": 3500})
    house.xadd(slow)
    eventually(lambda: house.upstream.number("active") == 50, what="fifty in mid-call")
    more = requests(60, "narrow", "waits")
    house.xadd(more)
    ids = [str(one["request_id"]) for one in (*slow, *more)]
    _parked(house, 60)
    house.start_worker()
    kill_family(doomed)
    killed = time.monotonic()
    eventually(lambda: house.upstream.number("active") == 0, what="the end of the dead's calls")
    eventually(lambda: house.upstream.number("active") == 50, what="fifty calls anew")
    assert time.monotonic() - killed < _WITHIN_S
    assert house.pending("call", name) == set()
    reckoning.check(ids, 30.0)
    assert house.upstream.number("peak") <= 50
    assert len(more_than_one(house.upstream.calls(), ids)) <= 50
    used = _use(house)
    prompt_and_answer = 1 + 4
    assert used[2] == 0
    assert used[4] == len(ids)
    assert used[5] == len(ids) * prompt_and_answer


def test_a_worker_killed_again_and_again_leaks_no_lease(build_house: BuildHouse) -> None:
    house = _narrow(build_house, 8, "ttft_ms=60,tokens=2")
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    house.start_worker()
    ids: list[str] = []
    for round_ in range(3):
        doomed, _ = house.start_worker()
        events = requests(80, "narrow", f"k{round_}-")
        ids += [str(one["request_id"]) for one in events]
        house.xadd(events)
        _parked(house, 40)
        kill_family(doomed)
    reckoning.check(ids, 30.0)
    assert _use(house)[2] == 0
    assert _use(house)[4] == len(ids)


def test_an_event_without_a_ticket_and_a_ticket_without_an_event_are_mended(
    build_house: BuildHouse,
) -> None:
    house = _narrow(build_house, 2, "ttft_ms=100,tokens=2")
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    stopped, _ = house.start_worker()
    house.xadd(requests(20, "narrow"))
    ids = [f"r{number}" for number in range(20)]
    _parked(house, 12)
    # As a worker leaves them that dies between the two, with what it had under way.
    signal_family(stopped, signal.SIGSTOP)
    tickets, parked = f"{house.names.limits}:tickets", house.names.parked
    waiting = sorted(map(str, house.client.hkeys(parked)))
    assert len(waiting) >= 8
    lost = waiting[:4]
    house.client.hdel(tickets, *(f"1.{one}" for one in lost))
    events = {one: str(house.client.hget(parked, one)) for one in waiting[4:8]}
    house.client.hdel(parked, *events)
    # The event that was about to be parked is another worker's to claim.
    for event in events.values():
        house.client.xadd(house.names.hop("gate"), {"event": event})
    kill_family(stopped)
    house.start_worker()
    reckoning.check(ids, 30.0)


def test_a_worker_that_dies_on_its_way_to_the_waiting_room_loses_nobody(
    build_house: BuildHouse,
) -> None:
    house = _narrow(build_house, 4, "ttft_ms=80,tokens=2")
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    ids: list[str] = []
    for round_ in range(3):
        worker, _ = house.start_worker()
        events = requests(25, "narrow", f"w{round_}-")
        house.xadd(events)
        ids += [str(one["request_id"]) for one in events]
        tickets = f"{house.names.limits}:tickets"
        # The first tickets are there, and their events are on their way.
        eventually(partial(house.client.exists, tickets), what="a ticket")
        kill_family(worker)
    house.start_worker()
    reckoning.check(ids, 30.0)


def test_who_waits_is_answered_though_redis_restarts(build_house: BuildHouse) -> None:
    house = _narrow(build_house, 5, "ttft_ms=100,tokens=2").start(workers=2)
    reckoning = Reckoning(house.client, house.names)
    with Crowd(house.url, 80, "narrow") as crowd:
        _parked(house, 60)
        house.redis.kill()
        time.sleep(0.3)
        house.redis.start()
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    ids = [one.request_id for one in heard]
    reckoning.check(ids, 30.0)
    assert more_than_one(house.upstream.calls(), ids) == set()
    assert house.upstream.number("peak") <= 5


def test_who_waits_is_answered_though_all_that_the_limits_know_was_deleted(
    build_house: BuildHouse,
) -> None:
    house = _narrow(build_house, 5, "ttft_ms=100,tokens=2").start(workers=2)
    reckoning = Reckoning(house.client, house.names)
    with Crowd(house.url, 60, "narrow") as crowd:
        _parked(house, 45)
        house.client.delete(*house.client.scan_iter(f"{house.names.limits}:*"))
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    reckoning.check([one.request_id for one in heard])
    # The limits themselves are back with the first question; what is under way is forgotten.
    assert house.upstream.number("peak") <= 10
    with Crowd(house.url, 20, "narrow") as crowd:
        house.upstream.forget()
        crowd.heard()
    assert house.upstream.number("peak") == 5


def test_who_lost_a_ticket_is_found_though_there_are_more_tickets_than_waiting(
    build_house: BuildHouse,
) -> None:
    house = _narrow(build_house, 20, "ttft_ms=1500,tokens=2")
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    house.start_worker()
    house.xadd(requests(24, "narrow"))
    _parked(house, 4)
    lost = [str(one) for one in house.client.hkeys(house.names.parked)]
    tickets = f"{house.names.limits}:tickets"
    house.client.hdel(tickets, *(f"1.{one}" for one in lost[:2]))
    house.xadd(requests(40, "narrow", "more"))
    for one in lost[:2]:
        eventually(partial(house.client.hexists, tickets, f"1.{one}"), 4.0, "a ticket anew")
    assert house.upstream.number("active") == 20
    ids = [f"r{number}" for number in range(24)]
    reckoning.check([*ids, *(f"more{number}" for number in range(40))], 30.0)
