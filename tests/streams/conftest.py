"""A client and a link to the shared Redis."""

from collections.abc import AsyncIterator, Iterator

import pytest

from pipeline.streams.link import Link
from tests.streams import rig


@pytest.fixture
def client(redis_url: str) -> Iterator[rig.Client]:
    """Look at the shared Redis, and do there what others do."""
    with rig.connect(redis_url) as client:
        yield client


@pytest.fixture
async def link(redis_url: str, anyio_backend: str) -> AsyncIterator[Link]:
    """Open a link to the shared Redis."""
    async with rig.linked(redis_url) as link:
        yield link
