"""A provider that goes away is noticed before requests are, and so is its coming back."""

import msgspec
import pytest

from pipeline.limits.report import DeploymentReport, LimitsReport
from tests.house_of_sluice import House
from tests.journeys.conftest import BuildHouse
from tests.waiting import eventually

pytestmark = pytest.mark.journey

#: So long cut off that only looks can bring it back in time.
_BREAKER = {"failures": 2, "open_s": 60, "max_open_s": 60}


def _state(house: House) -> str:
    _, told = house.ask("GET", "/stats")
    reports = msgspec.convert(told["limits"], LimitsReport).deployments
    found: DeploymentReport = next(one for one in reports if one.name == "sim/fast")
    return found.state


def test_looks_cut_off_who_is_away_and_bring_back_who_is_there_again(
    build_house: BuildHouse,
) -> None:
    house = build_house(providers={"sim": {"health_s": 0.3, "breaker": _BREAKER}})
    gateway = house.spawn_gateway()
    house.start_worker()
    house.await_gateway(gateway)
    eventually(lambda: _state(house) == "open", 10, "it is cut off without a request")
    house.start_simulated()
    eventually(lambda: _state(house) == "trial", 10, "a request may try it")
    body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
    assert house.ask("POST", "/v1/chat/completions", body)[0] == 200
    assert _state(house) == "closed"
