"""Tickets of whoever came too late are given back, and nobody else's."""

import pytest
import redis

from pipeline.event import Event
from pipeline.limits.strays import Strays
from pipeline.names import Names
from tests.streams.rig import linked, make_event

pytestmark = pytest.mark.anyio

NAMES = Names("t")


async def test_what_is_left_is_left_once_its_leg_is_over(redis_url: str) -> None:
    left: list[Event] = []
    records = {
        "ended": {"status": "completed"},
        "climbed": {"status": "retrying", "leg": "2"},
        "under way": {"status": "running"},
    }
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        async with linked(redis_url) as link:
            strays = Strays(link, NAMES, left.append)
            for request_id, record in records.items():
                client.hset(NAMES.record(request_id), mapping=record)
                strays.note(make_event(request_id))
            strays.note(make_event("unknown"))
            await strays.look()
            assert {event.id for event in left} == {"ended", "climbed", "unknown"}
            await strays.look()
            assert len(left) == 3
            client.hset(NAMES.record("under way"), "status", "failed")
            await strays.look()
            assert len(left) == 4
