"""A producer that does not know whether its write arrived writes again: it gets one answer."""

import pytest

from tests.house_of_sluice import House, requests
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash


def test_a_repeated_write_is_answered_once(house: House, reckoning: Reckoning) -> None:
    house.start_simulated()
    events = requests(20, "sim/slow:ttft_ms=200", callback_queue="answers", session_id="talk")
    ids = [str(event["request_id"]) for event in events]
    # Twice before anybody reads, once in mid-call, once after the end, once by another lane.
    house.xadd([*events, *events])
    house.start_worker()
    eventually(lambda: house.upstream.number("active") >= 1, what="the first calls")
    house.xadd(events)
    reckoning.await_end(ids)
    house.xadd(events)
    house.xadd(events, "low")
    eventually(lambda: house.counter("duplicates") == 80, what="the count of the duplicates")
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == set()
    answered = [str(answer["request_id"]) for answer in house.answers("answers")]
    assert sorted(answered) == sorted(ids)
    assert house.client.llen(house.names.session("talk")) == 20
