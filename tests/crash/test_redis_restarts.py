"""Redis is killed and comes back, or stands still for a while: who was accepted is answered."""

import os
import signal
import time
from functools import partial

import pytest

from tests.crash.conftest import BuildHouse
from tests.crowd import Crowd
from tests.house_of_sluice import House, requests
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash

#: A second of deltas after half a second of silence.
_MODEL = "sim/talk:ttft_ms=500,tokens=20,tps=20"


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_waiting_clients_get_their_replies_when_redis_restarts(
    build_house: BuildHouse, appendfsync: str
) -> None:
    house = build_house({"appendfsync": appendfsync}).start(workers=2)
    reckoning = Reckoning(house.client, house.names)
    with Crowd(house.url, 60, _MODEL) as early, Crowd(house.url, 20, "sim/x:ttft_ms=2500") as late:
        eventually(lambda: house.upstream.number("active") == 80, what="all in mid-call")
        time.sleep(0.6)
        _restart(house)
        time.sleep(0.5)
        _restart(house)
        heard = [*early.heard(), *late.heard()]
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    assert len({one.content for one in early.heard()}) == 1, "some replies have holes"
    reckoning.check([one.request_id for one in heard])
    assert more_than_one(house.upstream.calls(), [one.request_id for one in heard]) == set()


def _restart(house: House) -> None:
    house.redis.kill()
    time.sleep(0.2)
    house.redis.start()


def _have_ended(reckoning: Reckoning, count: int) -> bool:
    return len(reckoning.ended()) > count


def test_nothing_is_lost_while_redis_restarts_under_load(
    house: House, reckoning: Reckoning
) -> None:
    house.start_simulated()
    house.start_worker()
    house.start_worker()
    ids: list[str] = []
    for round_ in range(3):
        events = requests(300, "sim/quick:ttft_ms=20", f"q{round_}-")
        house.xadd(events)
        ids += [str(event["request_id"]) for event in events]
        some = 300 * round_ + 30
        eventually(partial(_have_ended, reckoning, some), what="some of the round")
        house.redis.kill()
        house.redis.start()
    reckoning.check(ids, 30.0)


@pytest.mark.parametrize("frozen_s", [1.5, pytest.param(6.0, marks=pytest.mark.slow)])
def test_a_frozen_redis_only_delays(house: House, reckoning: Reckoning, frozen_s: float) -> None:
    house.start(workers=2)
    model = f"sim/slow:ttft_ms={(frozen_s + 1) * 1000:.0f}"
    with Crowd(house.url, 30, "fast") as quick:
        done = [one.request_id for one in quick.heard()]
    with Crowd(house.url, 30, model) as slow, Crowd(house.url, 30, _MODEL) as talking:
        eventually(lambda: house.upstream.number("active") == 60, what="all in mid-call")
        time.sleep(0.7)
        assert house.redis.pid
        os.kill(house.redis.pid, signal.SIGSTOP)
        time.sleep(frozen_s)
        os.kill(house.redis.pid, signal.SIGCONT)
        heard = [*slow.heard(), *talking.heard()]
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    ids = [one.request_id for one in heard]
    reckoning.check([*done, *ids])
    # All signs of life lapse together then; nobody may take that for the others' death.
    assert more_than_one(house.upstream.calls(), ids) == set()
