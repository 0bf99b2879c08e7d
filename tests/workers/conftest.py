"""A client and a link to the shared Redis, and a simulated provider for all tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pipeline.settings.load import Settings
from pipeline.streams.link import Link
from tests.providers.simulated_process import SimulatedProcess
from tests.streams.conftest import client, link
from tests.workers.bench import Bench, bench, settings_for

__all__ = ["client", "link"]


@pytest.fixture(scope="session")
def provider() -> Iterator[SimulatedProcess]:
    """Run the simulated provider."""
    with SimulatedProcess() as process:
        yield process


@pytest.fixture
def settings(provider: SimulatedProcess, tmp_path: Path) -> Settings:
    """Load the models of the bench."""
    return settings_for(tmp_path, provider.url)


@pytest.fixture
async def here(link: Link, settings: Settings) -> AsyncIterator[Bench]:
    """Set up the means of a call."""
    async with bench(link, settings) as made:
        yield made
