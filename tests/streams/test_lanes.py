"""Scarce slots: high goes before default before low, and no lane starves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline import event as events
from pipeline.names import LANES, Lane
from pipeline.streams.carrier import Carrier
from pipeline.streams.holdings import Holdings
from pipeline.streams.link import Link, Reply
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio


def fill(client: Client, **count: int) -> None:
    """Write so many requests to each lane."""
    with client.pipeline(transaction=False) as pipe:
        for lane in LANES:
            for n in range(count.get(lane, 0)):
                payload = events.encode(rig.make_event(f"{lane}{n}"))
                pipe.xadd(NAMES.requests[lane], {"event": payload})
        pipe.execute()
    for lane in LANES:
        rig.make_group(client, f"requests:{lane}", "route")


def carrier(link: Link) -> Carrier:
    return Carrier(link, NAMES, "me", rig.KEPT, Holdings(1000))


def by_lane(reply: Reply) -> dict[str, int]:
    return {stream.decode().rpartition(":")[2]: len(rows) for stream, rows in reply}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    clock.chance.seed(7)


async def test_high_comes_before_default_before_low(link: Link, client: Client) -> None:
    fill(client, high=4, default=4, low=4)
    taken: list[str] = []
    for _ in range(12):
        taken += by_lane(await carrier(link).take_ranked(1))
    assert len(taken) == 12
    assert taken[0] == "high"
    assert taken.index("default") > taken.index("high")


async def test_one_slot_in_twenty_stays_for_each_lower_lane(link: Link, client: Client) -> None:
    fill(client, high=100, default=100, low=100)
    assert by_lane(await carrier(link).take_ranked(60)) == {"high": 54, "default": 3, "low": 3}


async def test_slots_that_a_lane_does_not_want_go_to_the_others(link: Link, client: Client) -> None:
    fill(client, high=100)
    assert sum(by_lane(await carrier(link).take_ranked(60)).values()) <= 60
    assert client.xpending(NAMES.requests["high"], "route")["pending"] == 60
    fill(client, low=50)
    taken = by_lane(await carrier(link).take_ranked(60))
    assert taken == {"high": 40, "low": 20}


@pytest.mark.parametrize("room", [1, 2, 3, 7])
async def test_no_lane_starves_however_few_slots_come_free_at_once(
    link: Link, client: Client, room: int
) -> None:
    takes = 600 // room
    fill(client, high=700, default=200, low=200)
    total = dict.fromkeys(LANES, 0)
    for _ in range(takes):
        reply = by_lane(await carrier(link).take_ranked(room))
        assert sum(reply.values()) == room
        for lane in LANES:
            total[lane] += reply.get(lane, 0)
    share: dict[Lane, float] = {lane: total[lane] / (takes * room) for lane in LANES}
    assert share["default"] == pytest.approx(0.05, abs=0.03)
    assert share["low"] == pytest.approx(0.05, abs=0.03)


sizes = st.integers(0, 70)


@rig.law(40)
@given(room=st.integers(1, 63), high=sizes, default=sizes, low=sizes)
async def test_as_many_are_taken_as_there_is_room_and_work(
    link: Link, client: Client, room: int, high: int, default: int, low: int
) -> None:
    client.flushdb()
    fill(client, high=high, default=default, low=low)
    reply = await carrier(link).take_ranked(room)
    taken = sum(len(rows) for _, rows in reply)
    assert taken == min(room, high + default + low)
    lower = sum(len(rows) for stream, rows in reply if stream != b"t:requests:high")
    assert lower <= max(room - high, 0) + 2 * (room // 20 + 1)
