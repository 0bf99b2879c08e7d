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
def build_house(
    request: pytest.FixtureRequest, redis_binary: Path, tmp_path: Path
) -> Iterator[BuildHouse]:
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


@pytest.fixture(scope="module")
def shared_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a started house that the tests of a module share."""
    with House(tmp_path_factory.mktemp("house"), redis_binary, {}) as house:
        yield house.start()


@pytest.fixture
def shared_reckoning(request: pytest.FixtureRequest, shared_house: House) -> Reckoning:
    """Give the reckoning of the shared house."""
    request.node.stash[NURSERY] = shared_house.nursery
    return Reckoning(shared_house.client, shared_house.names)
