"""When slots are scarce, high goes before default before low, and nobody starves."""

import pytest

from tests.house_of_sluice import House, requests
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning

pytestmark = pytest.mark.journey

_MODEL = "sim/quick:ttft_ms=30"


@pytest.fixture
def scarce(build_house: BuildHouse) -> House:
    """Give a house with two slots for calls and nobody who works yet."""
    house = build_house(workers={"calls": 2})
    house.start_simulated()
    house.await_gateway(house.spawn_gateway())
    return house


def test_a_higher_lane_overtakes(scarce: House) -> None:
    reckoning = Reckoning(scarce.client, scarce.names)
    scarce.xadd(requests(60, _MODEL, "low"), "low")
    scarce.xadd(requests(60, _MODEL, "mid"), "default")
    scarce.xadd(requests(60, _MODEL, "high"), "high")
    ids = [f"{name}{n}" for name in ("low", "mid", "high") for n in range(60)]
    scarce.start_worker()
    reckoning.check(ids, 30.0)
    order = [str(event["id"]) for event in reckoning.ended()]
    assert _mean_place(order, "high") < 45
    assert _mean_place(order, "mid") < _mean_place(order, "low") - 20
    # One slot in twenty stays for each lower lane.
    assert any(name.startswith("low") for name in order[:100])
    assert scarce.upstream.number("peak") <= 2


def test_priorities_over_http_choose_the_lane(scarce: House) -> None:
    reckoning = Reckoning(scarce.client, scarce.names)
    ids = [scarce.later(_MODEL, priority=-5) for _ in range(30)]
    urgent = [scarce.later(_MODEL, priority=7) for _ in range(30)]
    assert scarce.client.xlen(scarce.names.requests["low"]) == 30
    assert scarce.client.xlen(scarce.names.requests["high"]) == 30
    scarce.start_worker()
    reckoning.check([*ids, *urgent], 30.0)
    order = [str(event["id"]) for event in reckoning.ended()]
    assert sum(order.index(one) for one in urgent) < sum(order.index(one) for one in ids) - 500


def _mean_place(order: list[str], name: str) -> float:
    places = [at for at, request_id in enumerate(order) if request_id.startswith(name)]
    return sum(places) / len(places)
