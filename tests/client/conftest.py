"""A client, with a stand-in for the workers that does what a request's model says."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from pipeline.client import Client
from pipeline.embedded import redis_server as embedded
from tests.processes import Nursery


@pytest.fixture(scope="package")
def answered(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Redis whose requests a stand-in answers; give its address."""
    directory = tmp_path_factory.mktemp("answered")
    options = {"appendonly": "no"}
    with embedded.EmbeddedRedis(directory, options=options, binary=redis_binary) as server:
        nursery = Nursery(directory)
        standin = [sys.executable, "-m", "tests.gateway.standin", server.url]
        nursery.spawn(standin, name="standin", warm=True)
        try:
            yield server.url
        finally:
            nursery.end()


@pytest.fixture
async def client(answered: str, anyio_backend: str) -> AsyncIterator[Client]:
    """Open a client there."""
    async with Client(answered, default_model="sim/echo") as client:
        yield client


@pytest.fixture
def look(answered: str) -> Iterator[redis.Redis]:
    """Look into that Redis, and tell the stand-in to go on."""
    with redis.Redis.from_url(answered, protocol=2, decode_responses=True) as look:
        yield look
