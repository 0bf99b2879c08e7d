"""Houses in which the command runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import House
from tests.processes import Nursery


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Give a folder with a configuration of its own."""
    return House(tmp_path / "house")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """Start commands that end with the test."""
    kept = Nursery(tmp_path)
    yield kept
    kept.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a house in which `sluice up` runs for the whole module."""
    folder = tmp_path_factory.mktemp("running")
    kept = Nursery(folder)
    house = House(folder / "house")
    house.up = house.start(kept, "up")
    house.up.await_output("Sluice is ready", 60)
    yield house
    kept.end()
