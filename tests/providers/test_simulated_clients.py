"""The official openai client against the simulated provider, with nothing between them."""

import asyncio
import math
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.providers.simulated_process import SimulatedProcess


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess() as process:
        yield process


@pytest.fixture(scope="module")
def client(simulated: SimulatedProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulated.url, api_key="sk-test", max_retries=0) as found:
        yield found


def test_a_completion_says_what_it_is_and_repeats_the_question(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "Привет,\n мир"}]},
        ],
    )
    content = answer.choices[0].message.content or ""
    assert answer.object == "chat.completion"
    assert "no model was asked" in content
    assert "Привет, мир" in content
    assert len(content) == 4 * 32
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 32)
    assert answer.usage.total_tokens == 37
    assert (answer._request_id or "").startswith("req_")


def test_a_stream_has_one_delta_for_each_token_and_usage_last(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sim:tokens=7",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.content for chunk in chunks[1:8])
    assert [chunk.choices[0].finish_reason for chunk in chunks[:9]] == [None] * 8 + ["stop"]
    assert chunks[9].choices == []
    assert chunks[9].usage is not None
    assert chunks[9].usage.completion_tokens == 7
    assert all(chunk.usage is None for chunk in chunks[:9])


def test_the_stream_helper_puts_the_same_answer_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="sim:tps=500,tokens=9", messages=[{"role": "user", "content": 'say "hi" \\'}]
    ) as stream:
        final = stream.get_final_completion()
    whole = client.chat.completions.create(
        model="sim:tokens=9", messages=[{"role": "user", "content": 'say "hi" \\'}]
    )
    assert final.choices[0].message.content == whole.choices[0].message.content


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_the_tokens_allowed(client: openai.OpenAI, field: str) -> None:
    answer = client.chat.completions.create(
        model="fast", messages=[{"role": "user", "content": "hi"}], extra_body={field: 3}
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert len(answer.choices[0].message.content or "") == 12


async def count_deltas(url: str) -> list[int]:
    async with openai.AsyncOpenAI(base_url=url, api_key="k") as client:

        async def deltas(tokens: int) -> int:
            stream = await client.chat.completions.create(
                model=f"sim:tps=200,tokens={tokens}",
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
            )
            return sum([bool(chunk.choices[0].delta.content) async for chunk in stream])

        return list(await asyncio.gather(*(deltas(tokens) for tokens in range(20))))


def test_the_async_client_reads_many_streams_at_once(simulated: SimulatedProcess) -> None:
    assert asyncio.run(count_deltas(simulated.url)) == list(range(20))


@pytest.mark.parametrize(
    ("model", "expected", "code"),
    [
        ("sim:error=400", openai.BadRequestError, None),
        ("sim:error=401", openai.AuthenticationError, "invalid_api_key"),
        ("sim:error=402", openai.APIStatusError, "credit_balance_exhausted"),
        ("sim:error=403", openai.PermissionDeniedError, "permission_denied"),
        ("sim:error=404", openai.NotFoundError, "model_not_found"),
        ("sim:error=408", openai.APIStatusError, "request_timeout"),
        ("sim:error=413", openai.APIStatusError, "request_too_large"),
        ("sim:error=422", openai.UnprocessableEntityError, "unprocessable"),
        ("sim:error=429", openai.RateLimitError, "rate_limit_exceeded"),
        ("sim:error=500", openai.InternalServerError, "server_error"),
        ("sim:error=502", openai.InternalServerError, "bad_gateway"),
        ("sim:error=503", openai.InternalServerError, "server_is_overloaded"),
        ("sim:error=529", openai.InternalServerError, "overloaded"),
        ("sim:error=418", openai.APIStatusError, None),
        ("sim:quota=true", openai.RateLimitError, "insufficient_quota"),
        ("sim:bad_key=sk-t", openai.AuthenticationError, "invalid_api_key"),
    ],
)
def test_an_error_is_raised_as_the_client_knows_it(
    client: openai.OpenAI, model: str, expected: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(expected) as raised:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    assert raised.value.code == code
    assert raised.value.type
    assert (raised.value.request_id or "").startswith("req_")
    assert "sk-test" not in str(raised.value)


def test_the_client_retries_at_the_time_it_was_told(simulated: SimulatedProcess) -> None:
    with openai.OpenAI(base_url=simulated.url, api_key="k", max_retries=2) as client:
        answer = client.chat.completions.create(
            model="sim:error_first=2,error=429,retry_after_ms=20",
            messages=[{"role": "user", "content": "x"}],
            extra_headers={"X-Client-Request-Id": "retried"},
        )
    assert answer.usage is not None
    assert simulated.http.get("/calls").json()["ids"]["retried"] == 3


def test_an_error_in_a_stream_is_an_api_error(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sim:error_at=2", messages=[{"role": "user", "content": "x"}], stream=True
    )
    seen: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError, match="broke") as raised:
        seen.extend(chunk for chunk in stream)
    assert raised.value.code == "server_error"


def test_embeddings_are_equal_in_both_encodings_and_of_length_one(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model="e", input=["a", "b", "a"], dimensions=100)
    plain = client.embeddings.create(
        model="e", input=["a", "b", "a"], dimensions=100, encoding_format="float"
    )
    first, second, third = (item.embedding for item in packed.data)
    assert first == third != second
    assert math.isclose(sum(value * value for value in first), 1, rel_tol=1e-6)
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-7)
    assert packed.usage.prompt_tokens == 3


def test_token_ids_can_be_embedded(client: openai.OpenAI) -> None:
    one = client.embeddings.create(model="sim:dimensions=9", input=[1, 2, 3])
    two = client.embeddings.create(model="sim:dimensions=9", input=[[1, 2, 3], [4]])
    assert len(one.data) == 1
    assert len(one.data[0].embedding) == 9
    assert one.data[0].embedding == two.data[0].embedding
    assert len(client.embeddings.create(model="e", input="x").data[0].embedding) == 1536


def test_models_are_listed_and_any_can_be_retrieved(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fast", "quality", "sim"]
    assert client.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"
