"""More demand than a deployment may take: never above its limit, and everybody is served."""

import pytest

from tests.crowd import Crowd
from tests.house_of_sluice import House, kill_family, requests
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.journey


def test_a_limit_holds_over_all_workers_and_all_are_served(
    house: House, reckoning: Reckoning
) -> None:
    house.upstream.forget()
    house.xadd(requests(60, "narrow", "limited"))
    ids = [f"limited{number}" for number in range(60)]
    with Crowd(house.url, 60, "narrow") as crowd:
        eventually(lambda: house.client.hlen(house.names.parked) > 50, what="a full waiting room")
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    ids += [one.request_id for one in heard]
    reckoning.await_end(ids)
    assert house.upstream.number("peak") == 4
    assert more_than_one(house.upstream.calls(), ids) == set()
    eventually(lambda: not reckoning.left_over(), what="nothing left over")


def test_who_waits_longer_than_his_deadline_is_told(house: House, reckoning: Reckoning) -> None:
    house.xadd(requests(60, "narrow", "before"))
    eventually(lambda: house.client.hlen(house.names.parked) > 45, what="a full waiting room")
    hasty = requests(10, "narrow", "hasty", timeout_s=0.3, callback_queue="too-late")
    house.xadd(hasty)
    ids = [f"hasty{number}" for number in range(10)]
    reckoning.await_end(ids)
    assert reckoning.statuses(ids) == {"failed": 10}
    codes = {one["failure"]["code"] for one in reckoning.ended("dead") if one["id"] in ids}
    # Whoever comes when the pace is known hears it at once.
    assert codes <= {"queue_timeout", "deadline_unreachable"}
    reckoning.await_end([f"before{number}" for number in range(60)])
    eventually(lambda: not reckoning.left_over(), what="nothing left over")


def test_overflow_goes_to_the_second_deployment(build_house: BuildHouse) -> None:
    def deployment(name: str) -> dict[str, object]:
        return {"provider": "sim", "model": f"{name}:ttft_ms=100", "limits": {"concurrency": 3}}

    house = build_house(models={"both": {"deployments": [deployment("one"), deployment("two")]}})
    house.start(workers=2)
    reckoning = Reckoning(house.client, house.names)
    with Crowd(house.url, 40, "both") as crowd:
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    ids = [one.request_id for one in heard]
    reckoning.check(ids)
    assert house.upstream.number("peak") == 6
    served = {str(house.ask("GET", f"/v1/requests/{one}")[1]["deployment"]) for one in ids}
    assert {name.partition(":")[0] for name in served} == {"sim/one", "sim/two"}


@pytest.mark.slow
def test_the_limit_holds_while_workers_die(build_house: BuildHouse) -> None:
    deployment = {"provider": "sim", "model": "narrow:ttft_ms=300", "limits": {"concurrency": 5}}
    house = build_house(models={"narrow": {"deployments": [deployment]}})
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    workers = [house.start_worker()[0] for _ in range(2)]
    house.xadd(requests(60, "narrow"))
    ids = [f"r{number}" for number in range(60)]
    eventually(lambda: len(reckoning.ended()) > 5, what="the first answers")
    kill_family(workers[0])
    house.start_worker()
    reckoning.check(ids, 30.0)
    # What the killed worker had begun is still counted upstream until its socket is seen closed.
    assert house.upstream.number("peak") <= 5
    assert len(more_than_one(house.upstream.calls(), ids)) <= 5
