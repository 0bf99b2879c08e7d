"""The official client repeats itself, with a key of its user's and without: one call upstream."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.house_of_sluice import House, kill_family
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning
from tests.waiting import eventually, eventually_async

pytestmark = [pytest.mark.journey, pytest.mark.anyio]

_MESSAGES: Final[list[ChatCompletionUserMessageParam]] = [{"role": "user", "content": "Tell me"}]
_SLOW: Final = "sim/slow:ttft_ms=700,tokens=5"


@pytest.fixture
def client(house: House) -> Iterator[openai.OpenAI]:
    """Give the sync client, with its own retries."""
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any") as client:
        yield client


@pytest.fixture
async def async_client(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    """Give the async client, with its own retries."""
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="any") as client:
        yield client


def _key(name: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": f"journey-{name}", **more}


def test_the_same_answer_comes_again(client: openai.OpenAI, house: House) -> None:
    asked = [
        client.chat.completions.with_raw_response.create(
            model="fast", messages=_MESSAGES, extra_headers=_key("again")
        )
        for _ in range(3)
    ]
    assert len({raw.headers["x-request-id"] for raw in asked}) == 1
    assert [raw.headers.get("idempotency-replayed") for raw in asked] == [None, "true", "true"]
    assert len({raw.parse().model_dump_json() for raw in asked}) == 1
    assert house.upstream.calls()[asked[0].headers["x-request-id"]] == 1


def test_what_is_kept_lives_as_long_as_its_key(client: openai.OpenAI, house: House) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="fast", messages=_MESSAGES, extra_headers=_key("kept")
    )
    request_id, names = raw.headers["x-request-id"], house.names
    key = house.client.hget(names.record(request_id), "idempotency")
    for name in (names.record(request_id), names.reply(request_id), names.idempotency(str(key))):
        assert 86_000 <= int(str(house.client.ttl(name))) <= 86_400
    plain = client.chat.completions.with_raw_response.create(model="fast", messages=_MESSAGES)
    ttl = int(str(house.client.ttl(names.record(plain.headers["x-request-id"]))))
    assert ttl <= 3600, "what has no key is kept no longer than before"


def test_a_stream_comes_again_from_its_start(client: openai.OpenAI) -> None:
    streams = [
        client.chat.completions.create(
            model="fast", messages=_MESSAGES, stream=True,
            stream_options={"include_usage": True}, extra_headers=_key("stream"),
        )
        for _ in range(2)
    ]  # fmt: skip
    first, again = (list(stream) for stream in streams)
    assert again == first
    assert first[-1].usage is not None


def test_embeddings_come_again(client: openai.OpenAI, house: House) -> None:
    first, again = (
        client.embeddings.create(model="fast", input="Hi", extra_headers=_key("embeddings"))
        for _ in range(2)
    )
    assert again == first
    assert first.data[0].embedding


async def test_the_clients_own_retries_sit_out_what_is_under_way(
    async_client: openai.AsyncOpenAI, house: House
) -> None:
    async def ask() -> str:
        answer = await async_client.chat.completions.create(
            model=_SLOW, messages=_MESSAGES, extra_headers=_key("sat-out")
        )
        assert answer._request_id
        return answer._request_id

    ids = await asyncio.gather(*(ask() for _ in range(5)))
    assert len(set(ids)) == 1
    assert house.upstream.calls()[ids[0]] == 1


async def test_who_wants_that_hears_the_running_answer(
    async_client: openai.AsyncOpenAI, house: House
) -> None:
    headers = _key("attached", **{"X-Sluice-On-Duplicate": "attach"})

    async def ask() -> tuple[str, str]:
        stream = await async_client.chat.completions.create(
            model="sim/slow:tokens=20,tps=40", messages=_MESSAGES, stream=True,
            extra_headers=headers,
        )  # fmt: skip
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        return stream.response.headers["x-request-id"], text

    heard = await asyncio.gather(*(ask() for _ in range(10)))
    assert len(set(heard)) == 1
    assert heard[0][1]
    assert house.upstream.calls()[heard[0][0]] == 1


def test_another_question_under_the_same_key_is_refused(client: openai.OpenAI) -> None:
    client.chat.completions.create(model="fast", messages=_MESSAGES, extra_headers=_key("conflict"))
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(
            model="fast", messages=_MESSAGES, seed=7, extra_headers=_key("conflict")
        )
    assert raised.value.code == "idempotency_conflict"


def test_a_failed_request_leaves_its_key_free(house: House) -> None:
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0) as client:
        ids = set()
        for _ in range(2):
            with pytest.raises(openai.InternalServerError) as raised:
                client.chat.completions.create(
                    model="broken", messages=_MESSAGES, extra_headers=_key("failed")
                )
            ids.add(raised.value.request_id)
        assert len(ids) == 2


def test_who_asked_for_it_is_told_where_the_answer_will_be(
    client: openai.OpenAI, house: House, reckoning: Reckoning
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=_SLOW, messages=_MESSAGES, extra_headers={"Prefer": "respond-async"}
    )
    assert raw.status_code == 202
    request_id = raw.headers["x-request-id"]
    reckoning.await_end([request_id])
    status, told = house.ask("GET", raw.headers["location"])
    assert (status, told["status"]) == (200, "completed")
    assert dict(told["result"])["content"]  # type: ignore[call-overload]
    in_time = client.chat.completions.create(
        model=_SLOW, messages=_MESSAGES, extra_headers={"Prefer": "respond-async, wait=20"}
    )
    assert in_time.choices[0].message.content


def test_the_clients_retries_count_as_one_where_that_is_configured(
    build_house: BuildHouse,
) -> None:
    house = build_house(idempotency={"dedupe": "retries"}).start()
    # The client gives up its first attempt, and the second is given the answer of the first.
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", timeout=0.5) as client:
        answer = client.chat.completions.create(model=_SLOW, messages=_MESSAGES)
    assert answer._request_id
    assert house.upstream.calls()[answer._request_id] == 1
    eventually(lambda: house.client.xlen(house.names.done) == 1, what="the one request's end")
    assert house.client.xlen(house.names.requests["default"]) == 1


async def test_a_gateway_that_dies_costs_no_second_call(build_house: BuildHouse) -> None:
    house = build_house()
    house.start_simulated()
    gateway = house.await_gateway(house.spawn_gateway())
    house.start_worker()
    count = 30
    async with openai.AsyncOpenAI(
        base_url=f"{house.url}/v1", api_key="any", max_retries=8
    ) as client:

        async def ask(number: int) -> str:
            answer = await client.chat.completions.create(
                model="sim/slow:ttft_ms=1500,tokens=2", messages=_MESSAGES,
                extra_headers=_key(f"dies-{number}", **{"X-Sluice-On-Duplicate": "attach"}),
            )  # fmt: skip
            return answer._request_id or ""

        asked = [asyncio.create_task(ask(number)) for number in range(count)]

        async def are_called() -> bool:
            return await asyncio.to_thread(house.upstream.number, "active") == count

        await eventually_async(are_called, what="all calls under way")
        kill_family(gateway)
        await asyncio.to_thread(lambda: house.await_gateway(house.spawn_gateway()))
        ids = await asyncio.gather(*asked)
    assert len(set(ids)) == count
    assert house.upstream.calls() == dict.fromkeys(ids, 1)
