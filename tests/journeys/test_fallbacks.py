"""One deployment fails, another serves; all fail, and the client is told so."""

import pytest

from tests.crowd import Crowd
from tests.house_of_sluice import House
from tests.reckoning import Reckoning

pytestmark = pytest.mark.journey


@pytest.mark.parametrize(("model", "calls"), [("shaky", {3}), ("slow-to-fail", {2, 3})])
def test_the_next_deployment_serves_and_the_client_does_not_notice(
    house: House, reckoning: Reckoning, model: str, calls: set[int]
) -> None:
    with Crowd(house.url, 20, model) as crowd:
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    counted = house.upstream.calls()
    # A 500 is asked once more before the next one is. Who comes while the first deployment
    # rests after its 429 does not call it at all.
    assert {counted[one.request_id] for one in heard} <= calls
    reckoning.await_end([one.request_id for one in heard])
    _, shown = house.ask("GET", f"/v1/requests/{heard[0].request_id}")
    assert shown["attempts"] in calls
    assert str(shown["deployment"]).startswith(("sim/second", "sim/third"))


def test_when_all_candidates_fail_the_client_is_told(house: House, reckoning: Reckoning) -> None:
    with Crowd(house.url, 10, "broken") as crowd:
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(503, "provider_exhausted")}
    ids = [one.request_id for one in heard]
    letters = {letter["id"]: letter for letter in reckoning.ended("dead")}
    assert set(ids) <= letters.keys()
    failure = letters[ids[0]]["failure"]
    assert failure["cause"] == "exhausted"
    assert "sim/second" in str(failure["metadata"])
    _, task = house.ask("GET", f"/chat/{ids[0]}")
    assert task["status"] == "failed"


def test_a_stream_that_was_seen_in_part_is_not_begun_again(house: House) -> None:
    with Crowd(house.url, 10, "cut") as crowd:
        heard = crowd.heard()
    whole = [one for one in heard if not one.code]
    cut = [one for one in heard if one.code]
    # Half of them have streams; the others have seen nothing yet, and go on elsewhere.
    assert len(whole) == len(cut) == 5
    assert {one.code for one in cut} == {"stream_interrupted"}
    counted = house.upstream.calls()
    assert {counted[one.request_id] for one in cut} == {1}
    # Cut before anything was seen: once more, then elsewhere.
    assert {counted[one.request_id] for one in whole} == {3}
