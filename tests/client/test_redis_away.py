"""A Redis that is gone, stands still or is full: nobody waits longer than said."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import redis

from pipeline.client import Client
from pipeline.client_errors import (
    ClientClosed,
    QueueTimeoutError,
    RedisAway,
    SchedulerQueueFullError,
)
from pipeline.embedded.redis_server import EmbeddedRedis

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(own_redis: EmbeddedRedis, anyio_backend: str) -> AsyncIterator[Client]:
    """Open a client of a Redis where nobody works."""
    async with Client(own_redis.url) as client:
        yield client


async def test_a_request_that_was_not_accepted_says_by_which_id_to_repeat_it(
    client: Client, own_redis: EmbeddedRedis
) -> None:
    own_redis.kill()
    with pytest.raises(RedisAway) as raised:
        await client.submit(prompt="Hi", request_id="job-1")
    assert (raised.value.request_id, raised.value.status) == ("job-1", 503)
    with pytest.raises(RedisAway):
        await client.state("job-1")
    own_redis.start()
    assert await client.submit(prompt="Hi", request_id="job-1") == "job-1"
    assert (await client.state("job-1")).status == "queued"


async def test_a_timeout_holds_while_redis_is_gone(
    client: Client, own_redis: EmbeddedRedis
) -> None:
    request_id = await client.submit(prompt="Hi")
    own_redis.kill()
    await _end_by_their_timeouts(client, request_id)


async def test_a_timeout_holds_while_redis_stands_still(
    client: Client, own_redis: EmbeddedRedis
) -> None:
    request_id = await client.submit(prompt="Hi")
    assert own_redis.pid
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        await _end_by_their_timeouts(client, request_id)
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)


async def _end_by_their_timeouts(client: Client, request_id: str) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    waits = (
        client.ask(prompt="Hi", timeout_s=0.3),
        client.ask(prompt="Hi", timeout_s=0.3, idempotency_key="k", cancel_on_timeout=True),
        client.result(request_id, timeout_s=0.3),
        anext(client.stream(prompt="Hi", timeout_s=0.3)),
    )
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(each) for each in ended] == [QueueTimeoutError] * len(waits)
    assert loop.time() - began < 1


async def test_closing_does_not_wait_for_a_redis_that_is_gone(own_redis: EmbeddedRedis) -> None:
    async with Client(own_redis.url) as client:
        request_id = await client.submit(prompt="Hi")
        own_redis.kill()
        waits = [
            asyncio.create_task(client.result(request_id)),
            asyncio.create_task(client.submit(prompt="Hi")),
        ]
        await asyncio.sleep(0.1)
        await asyncio.wait_for(client.close(), 1)
    ended = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 5)
    assert [type(each) for each in ended] == [ClientClosed] * 2


async def test_a_full_redis_is_a_full_queue(client: Client, own_redis: EmbeddedRedis) -> None:
    with redis.Redis(port=own_redis.port, protocol=2) as look:
        look.config_set("maxmemory", "1mb")
        with pytest.raises(SchedulerQueueFullError) as raised:
            await client.ask(prompt="x" * 2_000_000, request_id="large", timeout_s=10)
        assert raised.value.retry_after_s > 0
        assert raised.value.request_id == "large"
        look.config_set("maxmemory", "0")
