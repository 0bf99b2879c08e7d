"""Signs of life: they come from a thread, and stop only when the loop is as good as dead."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from pipeline import clock
from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.streams.liveness import Facts, Liveness
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

LIFE_S = 0.3
KEY = NAMES.worker("c")


class Impatient(Liveness):
    """Takes a loop for dead within a test's time."""

    stuck_s = 0.3


def facts() -> Facts:
    return Facts(pid=1, host="h", started=2.0, running={"call": 3})


@asynccontextmanager
async def living(
    url: str, on_gap: Callable[[], None] = lambda: None, kind: type[Liveness] = Liveness
) -> AsyncIterator[Liveness]:
    liveness = kind(url, NAMES, "c", LIFE_S, facts, on_gap)
    liveness.start()
    try:
        yield liveness
    finally:
        await asyncio.to_thread(liveness.stop)


async def test_the_first_sign_is_there_at_the_start_and_gone_at_the_end(
    redis_url: str, client: Client
) -> None:
    async with living(redis_url):
        assert msgspec.json.decode(client.get(KEY), type=Facts) == facts()
        assert 0 < client.pttl(KEY) <= 1000 * LIFE_S
        assert client.smembers(NAMES.workers) == {b"c"}
    assert not client.exists(KEY)


async def test_the_sign_is_given_again_and_again(redis_url: str) -> None:
    gaps: list[float] = []
    async with living(redis_url, lambda: gaps.append(0)):
        await asyncio.sleep(3 * LIFE_S)
    assert gaps == []


async def test_a_busy_loop_does_not_look_dead(redis_url: str, client: Client) -> None:
    gaps: list[float] = []
    async with living(redis_url, lambda: gaps.append(0)):
        time.sleep(3 * LIFE_S)  # noqa: ASYNC251 - the loop is to stand still
        assert client.exists(KEY)
        await asyncio.sleep(LIFE_S / 2)
    assert gaps == []


async def test_a_thread_that_burns_cpu_does_not_look_dead(redis_url: str) -> None:
    gaps: list[float] = []
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            sum(range(10_000))

    burner = threading.Thread(target=burn)
    burner.start()
    try:
        async with living(redis_url, lambda: gaps.append(0)):
            await asyncio.sleep(3 * LIFE_S)
    finally:
        stop.set()
        burner.join()
    assert gaps == []


async def test_a_loop_that_hangs_for_good_shows_no_life(redis_url: str, client: Client) -> None:
    gaps: list[float] = []
    async with living(redis_url, lambda: gaps.append(0), Impatient):
        time.sleep(Impatient.stuck_s + 3 * LIFE_S)  # noqa: ASYNC251 - as above
        assert not client.exists(KEY)
        await rig.until(lambda: gaps)
        assert client.exists(KEY)


async def test_a_lapse_is_noticed_and_told_once(redis_url: str, client: Client) -> None:
    gaps: list[float] = []
    async with living(redis_url, lambda: gaps.append(0)):
        client.delete(KEY)
        client.delete(NAMES.workers)
        await rig.until(lambda: gaps)
        assert client.exists(KEY)
        assert client.sismember(NAMES.workers, "c")
        await asyncio.sleep(LIFE_S)
    assert len(gaps) == 1


async def test_a_full_redis_does_not_kill(redis_url: str, client: Client) -> None:
    gaps: list[float] = []
    async with living(redis_url, lambda: gaps.append(0)):
        client.config_set("maxmemory", 1)
        try:
            await asyncio.sleep(2 * LIFE_S)
            assert client.exists(KEY)
        finally:
            client.config_set("maxmemory", 0)
    assert gaps == []


async def test_the_process_follows_the_time_of_redis(redis_url: str, client: Client) -> None:
    client.set(NAMES.clock, "3600")
    try:
        async with living(redis_url):
            assert clock.now() == pytest.approx(time.time() + 3600, abs=5)
    finally:
        clock.follow(time.time())


async def test_the_thread_outlives_redis(own_redis: EmbeddedRedis) -> None:
    gaps: list[float] = []
    async with living(own_redis.url, lambda: gaps.append(0)):
        await asyncio.to_thread(own_redis.stop)
        await asyncio.sleep(LIFE_S / 2)
        await asyncio.to_thread(own_redis.start)
        await rig.until(lambda: gaps)
        with rig.connect(own_redis.url) as client:
            assert client.exists(KEY)
