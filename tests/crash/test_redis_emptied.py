"""Redis loses what it held: workers and gateway go on by themselves with new requests."""

import pytest
import redis

from pipeline.flow import HOPS, ROUTE
from pipeline.names import LANES
from tests.crowd import Crowd
from tests.house_of_sluice import House, requests
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.crash


def test_new_requests_are_served_after_everything_was_deleted(
    house: House, reckoning: Reckoning
) -> None:
    house.start(workers=2)
    with Crowd(house.url, 10, "sim/slow:ttft_ms=1500") as lost:
        eventually(lambda: house.upstream.number("active") == 10, what="all in mid-call")
        house.client.flushall()
        with Crowd(house.url, 20, "fast") as crowd:
            heard = crowd.heard()
        assert {(one.status, one.code) for one in heard} == {(200, "")}
        house.xadd(requests(20))
        ids = [f"r{number}" for number in range(20)]
        # What was in mid-call is nobody's request any more, and must not come back as one.
        assert {one.status for one in lost.heard()} <= {500, 503}
    reckoning.check([*(one.request_id for one in heard), *ids])


def test_destroyed_groups_are_made_anew_and_nothing_ends_twice(
    house: House, reckoning: Reckoning
) -> None:
    house.start(workers=2)
    with Crowd(house.url, 20, "fast") as crowd:
        before = [one.request_id for one in crowd.heard()]
    house.xadd(requests(10, name="a"))
    before += [f"a{number}" for number in range(10)]
    reckoning.check(before)
    called = house.upstream.calls()
    with Crowd(house.url, 20, "sim/slow:ttft_ms=1000") as during:
        eventually(lambda: house.upstream.number("active") == 20, what="all in mid-call")
        _destroy_groups(house)
        heard = during.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    house.xadd(requests(10))
    ids = [*before, *(one.request_id for one in heard), *(f"r{number}" for number in range(10))]
    reckoning.check(ids)
    again = {i: n for i, n in house.upstream.calls().items() if i in called and n != called[i]}
    assert again == {}, "requests that had ended were called again"


def _destroy_groups(house: House) -> None:
    reads = [(f"requests:{lane}", ROUTE) for lane in LANES] + [("done", "callback")]
    reads += [(hop.name, hop.name) for hop in HOPS if hop.name != ROUTE]
    for stream, group in reads:
        house.client.xgroup_destroy(house.names.hop(stream), group)


def test_scripts_are_loaded_again_when_redis_forgot_them(
    house: House, reckoning: Reckoning
) -> None:
    house.start()
    ids: list[str] = []
    for round_ in range(4):
        house.client.script_flush()
        with Crowd(house.url, 20, f"sim/quick:ttft_ms={round_ * 50}") as crowd:
            house.client.script_flush()
            heard = crowd.heard()
        assert {(one.status, one.code) for one in heard} == {(200, "")}
        ids += [one.request_id for one in heard]
    reckoning.check(ids)


def test_deleted_streams_come_back(house: House, reckoning: Reckoning) -> None:
    house.start()
    for hop in (hop.name for hop in HOPS if hop.name != ROUTE):
        house.client.delete(house.names.hop(hop))
    house.client.delete(*house.names.requests.values(), house.names.done)
    with Crowd(house.url, 10, "fast") as crowd:
        heard = crowd.heard()
    assert {(one.status, one.code) for one in heard} == {(200, "")}
    reckoning.check([one.request_id for one in heard])


def test_a_foreign_key_where_a_stream_should_be_is_said_and_not_fatal(
    house: House, reckoning: Reckoning
) -> None:
    house.start()
    stream = house.names.requests["low"]
    house.client.delete(stream)
    house.client.set(stream, "mine")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        house.xadd(requests(1), "low")
    house.client.delete(stream)
    house.xadd(requests(5), "low")
    reckoning.check([f"r{number}" for number in range(5)])
