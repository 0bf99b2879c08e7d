"""The connection to Redis breaks, stands still or swallows replies: nothing is lost or doubled."""

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline import clock
from tests.crash.conftest import BuildHouse
from tests.crowd import Crowd
from tests.house_of_sluice import House, requests
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually
from tests.wire import Wire

pytestmark = pytest.mark.crash


@pytest.fixture
def house(build_house: BuildHouse) -> House:
    """Give a house whose workers are patient enough for a wire that is cut again and again."""
    return build_house(workers={"liveness_s": 3, "scan_s": 0.3})


@pytest.fixture
def wire(house: House) -> Iterator[Wire]:
    """Give a wire to the house's Redis."""
    with Wire(house.redis.port) as wire:
        yield wire


@pytest.mark.parametrize("connection", ["worker-", "route-", ""])
def test_a_worker_finds_what_a_lost_reply_brought(
    house: House, reckoning: Reckoning, wire: Wire, connection: str
) -> None:
    house.start_simulated()
    house.start_worker(wire.url)
    ids: list[str] = []
    for round_ in range(6):
        events = requests(30, "sim/quick:ttft_ms=30", f"q{round_}-", stream=bool(round_ % 2))
        ids += [str(event["request_id"]) for event in events]
        wire.rob(f"sluice-{connection}")
        house.xadd(events[:20])
        clock.sleep(0.05)
        wire.rob(f"sluice-{connection}")
        house.xadd(events[20:])
        clock.sleep(0.1)
    assert wire.thefts
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()


def test_a_wire_cut_all_the_time_only_delays(
    house: House, reckoning: Reckoning, wire: Wire
) -> None:
    house.start_simulated()
    workers = [house.start_worker(wire.url)[1] for _ in range(2)]
    assert len(workers) == 2
    ids: list[str] = []
    for round_ in range(12):
        events = requests(20, "sim/quick:ttft_ms=120,tokens=6,tps=30", f"q{round_}-", stream=True)
        ids += [str(event["request_id"]) for event in events]
        house.xadd(events)
        clock.sleep(0.05)
        wire.cut()
        clock.sleep(clock.chance.random() * 0.2)
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()


def test_waiting_clients_notice_nothing_of_the_gateways_cut_wire(
    house: House, reckoning: Reckoning, wire: Wire
) -> None:
    house.start_simulated()
    house.await_gateway(house.spawn_gateway(wire.url))
    house.start_worker()
    model = "sim/talk:ttft_ms=300,tokens=30,tps=20"
    with Crowd(house.url, 40, model) as crowd:
        eventually(lambda: house.upstream.number("active") == 40, what="all in mid-call")
        for _ in range(8):
            wire.cut()
            clock.sleep(0.1)
            wire.rob("inbox")
            clock.sleep(0.1)
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    assert len({one.content for one in heard}) == 1, "some replies have holes or repeats"
    reckoning.check([one.request_id for one in heard])


def test_an_accepting_whose_reply_is_lost_accepts_once(
    house: House, reckoning: Reckoning, wire: Wire
) -> None:
    house.start_simulated()
    house.await_gateway(house.spawn_gateway(wire.url))
    house.start_worker()
    ids: list[str] = []
    for _ in range(10):
        wire.rob("gateway")
        ids.append(house.later("fast"))
    assert wire.thefts
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()


def test_a_half_open_connection_is_given_up(house: House, reckoning: Reckoning, wire: Wire) -> None:
    house.start_simulated()
    _, cut_off = house.start_worker(wire.url)
    events = requests(20, "sim/slow:ttft_ms=1000")
    ids = [str(event["request_id"]) for event in events]
    house.xadd(events)
    eventually(lambda: house.upstream.number("active") == 20, what="all in mid-call")
    wire.stall()
    house.start_worker()
    # It cannot show that it lives; the other one runs what it held.
    reckoning.await_end(ids)
    assert house.counter("claimed") >= 20
    wire.cut()
    wire.go_on()
    house.xadd(requests(20, "fast", "n"))
    reckoning.check([*ids, *(f"n{number}" for number in range(20))])
    key = house.names.worker(cut_off)
    eventually(lambda: house.client.exists(key), what="the return of the one that was cut off")


def test_a_gateway_answers_within_its_time_when_redis_is_silent(
    house: House, reckoning: Reckoning, wire: Wire
) -> None:
    house.start_simulated()
    house.await_gateway(house.spawn_gateway(wire.url))
    house.start_worker()
    assert house.ask("GET", "/health/full")[0] == 200
    wire.stall()
    began = time.monotonic()
    status, told = house.ask("GET", "/health/full")
    assert (status, told["status"]) == (503, "down")
    assert time.monotonic() - began < 4
    wire.cut()
    wire.go_on()

    def served() -> bool:
        with suppress(ConnectionError):
            return house.ask("GET", "/health/full")[0] == 200
        return False

    eventually(served, what="the gateway's return")
    reckoning.check([house.later("fast")])
