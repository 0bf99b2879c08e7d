"""One journey: a plan is drawn, the requests go, the faults strike, and all is reckoned."""

import random
from collections.abc import Callable, Sequence

import pytest

from tests.crash.chaos.faults import KINDS
from tests.crash.chaos.ground import Ground
from tests.crash.chaos.ledger import Ledger, Report
from tests.crash.chaos.plan import draw
from tests.crash.chaos.traffic import Traffic
from tests.crash.conftest import BuildHouse
from tests.waiting import eventually

#: How long requests come, and how many.
OVER_S, REQUESTS = 3.0, 240

_WIRED = {"cut_redis", "stall_redis", "cut_provider"}


class Journeys:
    """Makes the journeys of one test."""

    def __init__(
        self, build_house: BuildHouse, seed: int, tell: Callable[[str, object], None]
    ) -> None:
        self._build_house = build_house
        self._seed = seed
        self._tell = tell

    def make(
        self, faults: Sequence[str], *, requests: int = REQUESTS, over_s: float = OVER_S,
        **redis_options: str,
    ) -> Report:  # fmt: skip
        """Make one journey, in which each of these faults strikes."""
        plan = draw(self._seed, faults, requests=requests, over_s=over_s)
        chance = random.Random(self._seed)
        with Ground(self._build_house, chance, **redis_options) as ground:
            if not _WIRED.isdisjoint(faults):
                ground.wire()
            ground.start()
            with Traffic(ground.house, plan) as traffic:
                for strike in plan.strikes:
                    _await_moment(traffic, strike.at_s)
                    KINDS[strike.fault](ground)
                ground.recover()
                traffic.finish()
            ledger = Ledger(ground, traffic)
            try:
                ledger.check()
            except AssertionError as error:
                error.add_note(f"seed {self._seed}\n{ledger.report(plan)}")
                raise
            report = ledger.report(plan)
        self._show(report)
        assert report.repeated.get("unexplained", 0) == 0
        assert report.lost == 0
        return report

    def _show(self, report: Report) -> None:
        print(f"\n{report}")
        self._tell("chaos", str(report))


def _await_moment(traffic: Traffic, at_s: float) -> None:
    eventually(lambda: traffic.passed_s >= at_s)


@pytest.fixture
def journeys(
    build_house: BuildHouse, seed: int, record_property: Callable[[str, object], None]
) -> Journeys:
    """Give what makes journeys with this test's seed."""
    return Journeys(build_house, seed, record_property)
