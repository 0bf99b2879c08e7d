"""Every fault, in every way to be served, whole and as a stream: clients, calls, and what rests."""

import asyncio
from pathlib import Path

import pytest

from tests.conftest import NURSERY
from tests.house_of_sluice import House
from tests.matrix.asking import Matrix, ask_all
from tests.matrix.broken import FULL, NOBODY, broken
from tests.matrix.places import PLACES, Place, sections
from tests.matrix.table import ROWS

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def matrix(
    request: pytest.FixtureRequest, redis_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Matrix:
    """Ask for the whole matrix in one house."""
    directory = tmp_path_factory.mktemp("matrix")

    async def asked() -> Matrix:
        async with broken() as provider:
            with House(directory, redis_binary, {}, **sections(provider)) as house:
                request.node.stash[NURSERY] = house.nursery
                house.start()
                return await ask_all(house, provider)

    return asyncio.run(asked())


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_fault_shows_itself_as_the_table_says(matrix: Matrix, place: Place) -> None:
    assert matrix.cells[place] == place.expected


def test_the_providers_have_counted_the_calls_that_the_journals_tell(matrix: Matrix) -> None:
    reached = [place for place in PLACES if place.row.script not in (NOBODY, FULL)]
    assert {place: matrix.counted[place] for place in reached} == {
        place: matrix.cells[place].calls for place in reached
    }


def test_each_call_takes_the_next_key_in_turn(matrix: Matrix) -> None:
    several = [place for place in PLACES if place.way == "many keys"]
    assert {place: matrix.keys[place] for place in several} == {
        place: min(2, matrix.cells[place].calls) for place in several
    }


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.fault for row in ROWS])
def test_who_has_patience_climbs_where_time_may_mend_it(matrix: Matrix, number: int) -> None:
    assert matrix.patient[number] == ROWS[number].patient
