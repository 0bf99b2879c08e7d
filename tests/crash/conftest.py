"""Houses to be wrecked: each test its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section
from tests.reckoning import Reckoning

BuildHouse = Callable[..., House]


@pytest.fixture
def build_house(request: pytest.FixtureRequest, redis_binary: Path, tmp_path: Path) -> Iterator[BuildHouse]:
    """Give what builds houses: `build_house(workers={…})`, not started yet but for Redis."""
    with ExitStack() as houses:

        def build(redis_options: dict[str, str] | None = None, **sections: Section) -> House:
            house = House(tmp_path, redis_binary, redis_options or {}, **sections)
            request.node.stash[NURSERY] = house.nursery
            return houses.enter_context(house)

        yield build


@pytest.fixture
def house(build_house: BuildHouse) -> House:
    """Give a house with the usual configuration, not started yet but for Redis."""
    return build_house()


@pytest.fixture
def reckoning(house: House) -> Reckoning:
    """Give the reckoning of that house."""
    return Reckoning(house.client, house.names)
