"""What Redis's own durability can lose: with everysec no more than what one second wrote.

A `kill -9` of Redis leaves the system's page cache, so nothing is lost at all (the journeys of
Redis show it). A power failure takes what was not yet on the disk: here the file's tail is cut off.
"""

import os
import random
from collections.abc import Callable

import pytest

from tests.crash.chaos.ground import Ground
from tests.crash.chaos.ledger import Ledger
from tests.crash.chaos.plan import draw
from tests.crash.chaos.traffic import TIMEOUT_S, Traffic
from tests.crash.conftest import BuildHouse
from tests.waiting import eventually

pytestmark = pytest.mark.crash

#: How often Redis syncs its file, in seconds.
_SYNCED_S = 1.0


def test_a_power_failure_loses_at_most_the_last_second(
    build_house: BuildHouse, seed: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    plan = draw(seed, [], requests=240, over_s=3.0)
    with Ground(build_house, chance) as ground:
        ground.start()
        with Traffic(ground.house, plan) as traffic:
            noted_s = chance.uniform(0.8, 1.8)
            eventually(lambda: traffic.passed_s >= noted_s)
            # In this order: what was told as accepted is in the file.
            safe = set(traffic.accepted)
            kept_bytes = ground.house.redis.data.stat().st_size
            eventually(lambda: traffic.passed_s >= noted_s + _SYNCED_S)
            _fail_power(ground, kept_bytes)
            failed_s = traffic.passed_s
            ground.recover()
            traffic.finish()
        assert traffic.passed_s - failed_s < TIMEOUT_S, "somebody waited for what was lost"
        ledger = Ledger(ground, traffic)
        gone = traffic.accepted.keys() - ledger.records()
        ledger.check(gone)
        report = ledger.report(plan, "forgotten by Redis")
        told = f"{len(safe)} accepted a second before, gone without trace: {len(gone)}"
        print(f"\n{report}\n  {told}")
        record_property("chaos", f"{report}\n  {told}")
        assert safe
        assert not gone & safe, "older than a second"
        later = {one for one in gone if traffic.accepted[one] > failed_s}
        assert later <= traffic.failed, "accepted after the failure"
        assert {key for one in gone for key in _traces(ground, one)} == set()


def _fail_power(ground: Ground, kept_bytes: int) -> None:
    """Kill Redis and cut its file anywhere behind so many bytes."""
    redis = ground.house.redis
    redis.kill()
    size = redis.data.stat().st_size
    assert size > kept_bytes, "nothing was written in the last second"
    os.truncate(redis.data, ground.chance.randint(kept_bytes, size))
    redis.start()


def _traces(ground: Ground, request_id: str) -> list[str]:
    names, client = ground.house.names, ground.house.client
    keys = [names.record(request_id), names.reply(request_id), names.body(request_id)]
    return [key for key in keys if client.exists(key)]
