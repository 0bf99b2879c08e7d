"""The client through real workers: many at once, limits, cancelling, and Redis restarts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from pipeline.client import Client, State
from pipeline.client_errors import (
    ModelUnknown,
    QueueTimeoutError,
    RequestCancelled,
    RequestFailed,
)
from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section
from tests.waiting import eventually_async

pytestmark = [pytest.mark.journey, pytest.mark.anyio]

_NARROW: Section = {
    "deployments": [
        {"provider": "sim", "model": "narrow:ttft_ms=30000", "limits": {"concurrency": 1}}
    ]
}


@pytest.fixture(scope="module")
def open_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run the house that these tests share, without a gateway."""
    directory = tmp_path_factory.mktemp("house")
    retry: Section = {"quick": 0}
    with House(directory, redis_binary, {}, models={"narrow": _NARROW}, retry=retry) as house:
        house.start_simulated()
        workers = [house.spawn_worker() for _ in range(2)]
        for worker in workers:
            house.await_worker(worker)
        yield house


@pytest.fixture
def house(request: pytest.FixtureRequest, open_house: House) -> House:
    """Give the shared house."""
    request.node.stash[NURSERY] = open_house.nursery
    return open_house


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """Open a client of the shared house."""
    async with Client(house.redis.url) as client:
        yield client


async def _until(client: Client, request_id: str, holds: Callable[[State], bool]) -> State:
    async def state() -> State | None:
        found = await client.state(request_id)
        return found if holds(found) else None

    found = await eventually_async(state, 20, "the state")
    assert found is not None
    return found


async def test_500_at_once_share_two_connections(client: Client, house: House) -> None:
    asked: list[Awaitable[str]] = [
        _text(client, number, streams=bool(number % 2)) for number in range(500)
    ]
    texts = await asyncio.gather(*asked)
    assert len(set(texts)) == 1
    assert texts[0]
    mine = [row for row in house.client.client_list() if client._post.name in row["name"]]
    assert len(mine) == 2
    assert client._post._inbox.watching == 0


async def _text(client: Client, number: int, *, streams: bool) -> str:
    if not streams:
        answer = await client.ask(prompt="Hi", priority=number % 3 - 1, timeout_s=60)
        return answer.content
    return "".join([chunk.content async for chunk in client.stream(prompt="Hi", timeout_s=60)])


async def test_embeddings_come_as_the_providers_response(client: Client) -> None:
    answer = await client.ask({"input": ["a", "b"], "model": "fast"}, timeout_s=20)
    assert answer.content == ""
    assert len(list(answer.json()["data"])) == 2  # type: ignore[call-overload]
    assert answer.usage is not None


async def test_a_model_that_is_not_there_is_said_so(client: Client) -> None:
    with pytest.raises(ModelUnknown, match="nothing-like-it"):
        await client.ask(prompt="Hi", model="nothing-like-it", timeout_s=20)


async def test_one_that_is_not_patient_fails_soon(client: Client) -> None:
    with pytest.raises(RequestFailed) as raised:
        await client.ask(prompt="Hi", model="sim/x:error=503", patient=False, timeout_s=20)
    assert raised.value.status == 503


async def test_one_that_waits_knows_its_place_and_can_be_cancelled(client: Client) -> None:
    running = await client.submit(prompt="Hi", model="narrow")
    await _until(client, running, lambda state: state.status == "running")
    asked = asyncio.create_task(client.ask(prompt="Hi", model="narrow", request_id="waits"))
    await eventually_async(lambda: _is_known(client, "waits"))
    state = await _until(client, "waits", lambda state: state.position is not None)
    assert (state.status, state.position) == ("waiting", 1)
    assert await client.cancel("waits")
    with pytest.raises(RequestCancelled):
        await asyncio.wait_for(asked, 5)
    assert not await client.cancel("waits")
    assert await client.cancel(running)
    with pytest.raises(RequestCancelled):
        await client.result(running, timeout_s=10)
    state = await client.state(running)
    assert (state.status, state.has_ended) == ("cancelled", True)


async def _is_known(client: Client, request_id: str) -> bool:
    try:
        return bool(await client.state(request_id))
    except RequestFailed:
        return False


async def test_a_timeout_that_cancels_ends_a_running_call(client: Client, house: House) -> None:
    house.upstream.forget()
    with pytest.raises(QueueTimeoutError) as raised:
        await client.ask(
            prompt="Hi", model="sim/x:ttft_ms=30000", timeout_s=0.7, cancel_on_timeout=True
        )
    await _until(client, raised.value.request_id, lambda state: state.has_ended)


async def test_results_are_waited_for_while_redis_is_killed_and_restarted(
    redis_binary: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with House(tmp_path, redis_binary, {}) as house:
        request.node.stash[NURSERY] = house.nursery
        house.start_simulated()
        house.start_worker()
        async with Client(house.redis.url) as client:
            await _survive(client, house)


async def _survive(client: Client, house: House) -> None:
    model = "sim/talk:ttft_ms=500,tokens=20,tps=20"
    ways = (_asked, _resumed, _streamed, _submitted)
    asked = [asyncio.create_task(way(client, model)) for way in ways for _ in range(10)]
    await eventually_async(lambda: _active(house, 40), 20, "all in mid-call")
    for _ in range(2):
        await asyncio.to_thread(_restart, house)
        await asyncio.sleep(0.5)
    texts = await asyncio.wait_for(asyncio.gather(*asked), 60)
    assert len(set(texts)) == 1
    assert texts[0]


async def _active(house: House, count: int) -> bool:
    return await asyncio.to_thread(house.upstream.number, "active") >= count


def _restart(house: House) -> None:
    house.redis.kill()
    time.sleep(0.3)
    house.redis.start()


async def _asked(client: Client, model: str) -> str:
    return (await client.ask(prompt="Hi", model=model)).content


async def _streamed(client: Client, model: str) -> str:
    return "".join([chunk.content async for chunk in client.stream(prompt="Hi", model=model)])


async def _submitted(client: Client, model: str) -> str:
    request_id = await client.submit(prompt="Hi", model=model)
    return (await client.result(request_id)).content


async def _resumed(client: Client, model: str) -> str:
    request_id = await client.submit(prompt="Hi", model=model, stream=True)
    return "".join([chunk.content async for chunk in client.resume(request_id)])
