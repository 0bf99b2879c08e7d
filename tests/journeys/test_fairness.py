"""Who waits for a busy provider: tenants share it, and no class of priority waits for ever."""

from typing import Final

import pytest

from tests.house_of_sluice import House, requests
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_PLACES, _CALL_S = 4, 0.03
_MANY, _FEW, _OTHERS = 250, 6, 9
_AGING_S: Final = 1.0


def _build(build_house: BuildHouse) -> House:
    """Build a house of two workers whose model `busy` has few places."""
    model = f"busy:ttft_ms={_CALL_S * 1000:.0f},tokens=2"
    deployment = {"provider": "sim", "model": model, "limits": {"concurrency": _PLACES}}
    house = build_house(models={"busy": {"deployments": [deployment]}}, gate={"aging_s": _AGING_S})
    house.start_simulated()
    for worker in [house.spawn_worker() for _ in range(2)]:
        house.await_worker(worker)
    return house


def test_who_asks_for_little_is_not_made_to_wait_by_who_asks_for_much(
    build_house: BuildHouse,
) -> None:
    house = _build(build_house)
    reckoning = Reckoning(house.client, house.names)
    house.xadd(requests(_MANY, "busy", "much", tenant="much"))
    parked = house.names.parked
    eventually(lambda: house.client.hlen(parked) > _MANY - 50, what="a full waiting room")
    before = len(reckoning.ended())
    little = [
        one for n in range(_OTHERS)
        for one in requests(_FEW, "busy", f"little{n}-", tenant=f"little{n}")
    ]  # fmt: skip
    house.xadd(little)
    ids = {str(one["request_id"]) for one in little}
    reckoning.await_end(ids)
    order = [event["id"] for event in reckoning.ended()][before:]
    places = [place for place, one in enumerate(order, 1) if one in ids]
    # As if each of the ten had a tenth: after so many rounds of ten all nine are through.
    rounds = _FEW * (_OTHERS + 1)
    # Some were under way or through before the nine had come to the gate.
    late = 4 * _PLACES
    assert sum(places) / len(places) <= rounds / 2 + late
    assert max(places) <= rounds + 2 * late


def test_low_priority_is_served_within_its_time_under_full_load(build_house: BuildHouse) -> None:
    house = _build(build_house)
    reckoning = Reckoning(house.client, house.names)
    high = requests(450, "busy", "high", priority=5)
    house.xadd(high, "high")
    eventually(lambda: house.client.hlen(house.names.parked) > 300, what="a full waiting room")
    house.xadd(requests(20, "busy", "low", priority=-5), "low")
    reckoning.await_end([str(one["request_id"]) for one in high], 30.0)
    granted: dict[str, list[float]] = {"high": [], "low": []}
    for event in reckoning.ended():
        ends = [float(str(line["end"])) for line in event["journal"] if line["hop"] == "gate"]
        granted[event["id"].rstrip("0123456789")].append(ends[-1])
    # The last few may be on their way from the waiting room while low ones are let in.
    first, *_, last = sorted(granted["high"])[:-10]
    low = sorted(at for at in granted["low"] if at < last)
    assert last - first > 2.5 * _AGING_S, "the load was over too soon"
    # One in each time of aging, and no more while higher ones wait.
    assert int((last - first) / _AGING_S) - 1 <= len(low) <= (last - first) / _AGING_S + 1
