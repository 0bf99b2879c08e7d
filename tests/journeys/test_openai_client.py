"""The official client, sync and async, against the whole house."""

from collections.abc import AsyncIterator, Iterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.house_of_sluice import House

pytestmark = [pytest.mark.journey, pytest.mark.anyio]

_MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Tell me more"}]


@pytest.fixture
def client(house: House) -> Iterator[openai.OpenAI]:
    """Give the sync client."""
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(house: House) -> AsyncIterator[openai.AsyncOpenAI]:
    """Give the async client."""
    made = openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0)
    async with made as client:
        yield client


def test_a_completion(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="fast", messages=_MESSAGES)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_with_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="fast", messages=_MESSAGES)
    stream = client.chat.completions.create(
        model="fast", messages=_MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_without_usage_has_none(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="fast", messages=_MESSAGES, stream=True)
    chunks = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_the_first_token_does_not_wait_for_the_last(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sim/slow:tokens=20,tps=10", messages=_MESSAGES, stream=True
    )
    first = next(iter(stream))
    assert first.choices
    # Leaving early is allowed; the call goes on without us.
    stream.close()


def test_the_models(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"fast", "shaky", "narrow"} <= names
    assert client.models.retrieve("fast").id == "fast"


def test_a_model_that_is_not_there(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nobody", messages=_MESSAGES)
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"
    assert raised.value.type == "invalid_request_error"
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"].startswith("The model `nobody` does not exist")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_malformed_json(client: openai.OpenAI, house: House) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/chat/completions", body=None, cast_to=httpx.Response,
                    options={"headers": {"content-type": "application/json"}})  # fmt: skip
    assert raised.value.type == "invalid_request_error"
    status, told = house.ask("POST", "/v1/chat/completions", b'{"model": "fast", ')
    assert status == 400
    assert "JSON" in str(told["error"])


def test_what_the_provider_refuses_is_refused_the_same_way(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="sim/picky:error=400", messages=_MESSAGES)
    assert "400" in raised.value.message


def test_fields_that_we_do_not_know_reach_the_provider(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="fast", messages=_MESSAGES, extra_body={"simulate": {"tokens": 3}}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_a_stream_that_is_cut_upstream_raises(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sim/cut:cut_at=3,tokens=10,tps=20", messages=_MESSAGES, stream=True
    )
    heard: list[str] = []
    with pytest.raises(openai.APIError) as raised:
        heard.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert raised.value.code == "stream_interrupted"


async def test_an_async_completion_and_stream(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model="fast", messages=_MESSAGES)
    stream = await async_client.chat.completions.create(
        model="fast", messages=_MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer.choices[0].message.content
    assert chunks[-1].usage == answer.usage


async def test_async_errors_and_models(async_client: openai.AsyncOpenAI) -> None:
    assert "fast" in {model.id async for model in async_client.models.list()}
    with pytest.raises(openai.NotFoundError):
        await async_client.chat.completions.create(model="nobody", messages=_MESSAGES)
    with pytest.raises(openai.BadRequestError):
        await async_client.chat.completions.create(model="fast", messages=[])
    with pytest.raises(openai.InternalServerError) as raised:
        await async_client.chat.completions.create(model="broken", messages=_MESSAGES)
    assert raised.value.code == "provider_exhausted"
