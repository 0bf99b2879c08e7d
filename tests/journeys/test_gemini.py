"""The official client through the whole house to a provider of Gemini's form."""

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.house_of_sluice import House
from tests.journeys.conftest import BuildHouse

pytestmark = pytest.mark.journey

_MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me more"}]
_WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def client(build_house: BuildHouse) -> Iterator[openai.OpenAI]:
    """Give the client of a house whose provider is a Gemini."""
    house = build_house()
    house.configure(_served_by_gemini(house))
    house.start()
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def _served_by_gemini(house: House) -> dict[str, dict[str, object]]:
    google: dict[str, object] = {
        "kind": "gemini",
        "base_url": f"http://127.0.0.1:{house.simulated_port}",
        "keys": ["AIza-journey"],
    }
    return {
        "providers": {"google": google},
        "models": {
            "deep": {"deployments": [{"provider": "google", "model": "gemini-3-pro"}]},
            "vectors": {"deployments": [{"provider": "google", "model": "gemini-embedding-001"}]},
        },
    }


def test_the_openai_client_speaks_to_a_gemini(client: openai.OpenAI) -> None:
    _chat_and_stream(client)
    _tools(client)
    _embeddings(client)
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="deep", messages=_MESSAGES, logit_bias={"1": 1})
    assert raised.value.param == "logit_bias"


def _chat_and_stream(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="deep", messages=_MESSAGES, temperature=0.5)
    assert "Tell me more" in (whole.choices[0].message.content or "")
    stream = client.chat.completions.create(
        model="deep", messages=_MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens if whole.usage else False


def _tools(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model="deep", messages=_MESSAGES, tools=[_WEATHER], tool_choice="required"
    )
    [choice] = first.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    # As the client's own guide does it: what came back goes into the messages as it is.
    back: list[ChatCompletionMessageParam] = [
        *_MESSAGES,
        choice.message.to_dict(),  # type: ignore[list-item]
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    second = client.chat.completions.create(model="deep", messages=back, tools=[_WEATHER])
    assert second.choices[0].finish_reason == "stop"


def _embeddings(client: openai.OpenAI) -> None:
    """Ask for vectors as the client does by default, in base64, and as floats."""
    decoded = client.embeddings.create(model="vectors", input=["a", "b"], dimensions=8)
    floats = client.embeddings.create(
        model="vectors", input=["a", "b"], dimensions=8, encoding_format="float"
    )
    assert len(decoded.data) == 2
    for one, other in zip(decoded.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
        assert len(one.embedding) == 8
