"""Journeys in which faults of all kinds strike, each wherever the one before has left us."""

from collections.abc import Callable

import pytest

from tests.crash.chaos.faults import KINDS
from tests.crash.chaos.journey import Journeys
from tests.crash.conftest import BuildHouse

pytestmark = pytest.mark.crash

_LONG = "freeze_redis_long"


def test_a_mix_of_all_faults_loses_nothing(journeys: Journeys) -> None:
    journeys.make([kind for kind in KINDS if kind != _LONG])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_a_long_mix_of_all_faults_loses_nothing(
    build_house: BuildHouse,
    seed: int,
    number: int,
    record_property: Callable[[str, object], None],
) -> None:
    journeys = Journeys(build_house, 1000 * seed + number, record_property)
    journeys.make([*KINDS, *KINDS], requests=900, over_s=12.0)
