"""Houses whose traces are collected."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section
from tests.telemetry.collector import Collector


class TracedHouse(House):
    """A house that exports its traces soon, to a collector of the test's."""

    def __init__(
        self, directory: Path, binary: Path, collector_url: str, **sections: Section
    ) -> None:
        told: Section = {"otlp_endpoint": collector_url, **sections.pop("telemetry", {})}
        super().__init__(directory, binary, {}, telemetry=told, **sections)
        self.variables["OTEL_BSP_SCHEDULE_DELAY"] = "100"


BuildTraced = Callable[..., TracedHouse]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Run a collector for the tests of a module."""
    with Collector() as collector:
        yield collector


@pytest.fixture
def build_traced(
    request: pytest.FixtureRequest, redis_binary: Path, tmp_path: Path, collector: Collector
) -> Iterator[BuildTraced]:
    """Give what builds a traced house of a test's own, not started yet but for Redis."""
    with ExitStack() as houses:

        def build(url: str = "", **sections: Section) -> TracedHouse:
            house = TracedHouse(tmp_path, redis_binary, url or collector.url, **sections)
            request.node.stash[NURSERY] = house.nursery
            return houses.enter_context(house)

        yield build
