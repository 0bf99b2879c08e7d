"""The official `openai` client before each form: what our translations give is what it can read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from pipeline.errors import UpstreamError
from tests.conformance.forms import Exchange, Form
from tests.conformance.ground import answering, call_of
from tests.conformance.listed import EXCHANGES, FORMS
from tests.providers.served import Connection, Script, Served, served
from tests.providers.shapes import DONE, frame
from workers.providers.base import ProviderCall

CHATS = {name: pair for name, pair in EXCHANGES.items() if pair[1].operation == "chat"}
WHOLE = {name: pair for name, pair in CHATS.items() if not pair[1].stream}
STREAMS = {name: pair for name, pair in CHATS.items() if pair[1].stream}
EMBEDDINGS = {name: pair for name, pair in EXCHANGES.items() if pair[1].operation != "chat"}


def front(provider: Served, form: Form, exchange: Exchange) -> Script:
    """Make a script that answers in OpenAI's form with what the provider gives."""

    async def script(connection: Connection) -> None:
        body = connection.request.body
        call = msgspec.structs.replace(call_of(provider, form, exchange), body=body)
        try:
            if call.stream:
                await _stream(connection, provider, call)
            else:
                reply = await provider.upstream.complete(call)
                await connection.answer(200, reply.response)
        except UpstreamError as raised:
            told = raised.failure()
            error = {"message": told.message, "type": told.type, "code": told.code}
            await connection.answer(told.status, msgspec.json.encode({"error": error}))

    return script


async def _stream(connection: Connection, provider: Served, call: ProviderCall) -> None:
    stream = provider.upstream.stream(call)
    first = await anext(stream)
    await connection.begin()
    await connection.piece(b"".join(map(frame, first.chunks)))
    async for deltas in stream:
        await connection.piece(b"".join(map(frame, deltas.chunks)))
    await connection.piece(DONE)
    await connection.piece(b"")


def messages_of(exchange: Exchange) -> list[ChatCompletionMessageParam]:
    """Give the conversation as the client's types have it."""
    return cast("list[ChatCompletionMessageParam]", exchange.asked["messages"])


@asynccontextmanager
async def client_of(
    form: Form, exchange: Exchange, script: Script | None = None
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Give the client of a house before a provider that speaks the form."""
    async with (
        served(script or answering(exchange, 97)) as provider,
        served(front(provider, form, exchange)) as house,
        openai.AsyncOpenAI(base_url=house.base_url, api_key="k", max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize(("form", "exchange"), WHOLE.values(), ids=WHOLE)
def test_a_whole_answer_is_a_valid_completion(form: Form, exchange: Exchange) -> None:
    async def scenario() -> ChatCompletion:
        async with client_of(form, exchange) as client:
            rest = {name: value for name, value in exchange.asked.items() if name != "messages"}
            return await client.chat.completions.create(
                model="fast", messages=messages_of(exchange), extra_body=rest
            )

    completion = asyncio.run(scenario())
    # The client reads leniently; this is its types' own judgement.
    checked = ChatCompletion.model_validate(completion.model_dump(warnings=False))
    told = ChatCompletion.model_validate({"created": 0, **exchange.told})
    assert checked.choices == told.choices
    assert checked.usage == told.usage


@pytest.mark.parametrize(("form", "exchange"), STREAMS.values(), ids=STREAMS)
def test_a_stream_adds_up_in_the_clients_own_helper(form: Form, exchange: Exchange) -> None:
    async def scenario() -> ChatCompletion:
        async with client_of(form, exchange) as client:
            rest = {name: value for name, value in exchange.asked.items() if name != "messages"}
            manager = client.chat.completions.stream(
                model="fast", messages=messages_of(exchange), extra_body=rest
            )
            async with manager as stream:
                async for _ in stream:
                    pass
                return await stream.get_final_completion()

    completion = asyncio.run(scenario())
    told = ChatCompletion.model_validate({"created": 0, **exchange.told})
    assert completion.usage == told.usage
    for found, wanted in zip(completion.choices, told.choices, strict=True):
        assert found.finish_reason == wanted.finish_reason
        assert (found.message.content or None) == (wanted.message.content or None)
        assert _calls(found.message.tool_calls) == _calls(wanted.message.tool_calls)


@pytest.mark.parametrize(("form", "exchange"), EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_embeddings_come_as_numbers_from_the_base64_that_the_client_asks_for(
    form: Form, exchange: Exchange
) -> None:
    async def scenario() -> list[list[float]]:
        async with client_of(form, exchange) as client:
            answer = await client.embeddings.create(
                model="fast",
                input=cast("list[str]", exchange.asked["input"]),
            )
            assert answer.usage.total_tokens >= answer.usage.prompt_tokens
            assert [one.index for one in answer.data] == list(range(len(answer.data)))
            return [one.embedding for one in answer.data]

    vectors = asyncio.run(scenario())
    given = exchange.asked["input"]
    assert len(vectors) == (len(given) if isinstance(given, list) else 1)
    assert len({len(vector) for vector in vectors}) == 1
    assert all(isinstance(number, float) for vector in vectors for number in vector)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_rate_limit_is_the_clients_own_error(form: Form) -> None:
    async def limited(connection: Connection) -> None:
        await connection.answer(429, form.error(429))

    async def scenario() -> None:
        async with client_of(form, form.whole, limited) as client:
            with pytest.raises(openai.RateLimitError) as raised:
                await client.chat.completions.create(model="fast", messages=messages_of(form.whole))
            assert raised.value.type

    asyncio.run(scenario())


def _calls(calls: object) -> list[tuple[str, str, str]]:
    found = calls if isinstance(calls, list) else []
    return [(call.id, call.function.name, call.function.arguments) for call in found]
