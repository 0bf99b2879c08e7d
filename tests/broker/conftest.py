"""A broker on the shared Redis with quick timings, and a worker that runs in this process."""

from collections.abc import Iterator

import dramatiq
import pytest
import redis

from pipeline.streams.broker import StreamBroker
from pipeline.streams.connection import sync_client


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Look into Redis past the broker."""
    with sync_client(redis_url) as connected:
        yield connected


@pytest.fixture
def broker(redis_url: str) -> Iterator[StreamBroker]:
    """Make the broker that actors declared in a test belong to."""
    made = StreamBroker(url=redis_url, namespace="test", liveness_s=1.0, scan_s=0.2)
    dramatiq.set_broker(made)
    yield made
    made.close()


@pytest.fixture
def worker(broker: StreamBroker) -> Iterator[dramatiq.Worker]:
    """Run a worker of four threads on the broker."""
    started = dramatiq.Worker(broker, worker_timeout=100, worker_threads=4)
    started.start()
    yield started
    started.stop()
