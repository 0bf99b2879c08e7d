"""The official `openai` client through the whole house to a provider of every kind."""

import asyncio
import json
from typing import Any, Final

import openai
import pydantic
import pytest
from openai.types.chat import (
    ChatCompletionContentPartParam,
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionToolParam,
    ParsedChatCompletion,
)

from tests.house_of_sluice import House
from tests.journeys.forms_house import KINDS, TOKEN, Asked, Kind, completion_tokens, end_of

pytestmark = [pytest.mark.journey, pytest.mark.anyio]

_MESSAGES: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "Tell me more"}]
_WEATHER: Final[ChatCompletionToolParam] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
#: One pixel.
_IMAGE: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


class Step(pydantic.BaseModel):
    """A part of a recipe."""

    what: str
    minutes: int


class Recipe(pydantic.BaseModel):
    """What a model is to fill in."""

    title: str
    steps: list[Step]
    is_hot: bool
    note: str | None


def streamed(client: openai.OpenAI, **asked: Any) -> ParsedChatCompletion[None]:
    """Ask for a stream by the client's own helper; give what it makes of the chunks."""
    options: ChatCompletionStreamOptionsParam = {"include_usage": True}
    with client.chat.completions.stream(**asked, stream_options=options) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion()


@each_kind
def test_a_chat_is_the_same_whole_and_as_a_stream(forms: openai.OpenAI, kind: Kind) -> None:
    model = kind.chat("tokens=12")
    whole = forms.chat.completions.create(model=model, messages=_MESSAGES, temperature=0.5)
    [choice] = whole.choices
    assert choice.finish_reason == "stop"
    assert (choice.message.role, choice.message.refusal) == ("assistant", None)
    assert choice.message.content
    assert len(choice.message.content) == 48
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12
    stream = streamed(forms, model=model, messages=_MESSAGES, temperature=0.5)
    assert stream.choices[0].message.content == choice.message.content
    assert stream.choices[0].finish_reason == "stop"
    if kind.counts:
        assert stream.usage is not None
        assert stream.usage.total_tokens == whole.usage.total_tokens


@each_kind
def test_usage_comes_last_and_only_if_asked_for(forms: openai.OpenAI, kind: Kind) -> None:
    model = kind.chat("tokens=4")
    create = forms.chat.completions.create
    plain = list(create(model=model, messages=_MESSAGES, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in plain)
    options: ChatCompletionStreamOptionsParam = {"include_usage": True}
    chunks = list(create(model=model, messages=_MESSAGES, stream=True, stream_options=options))
    if kind.counts:
        assert chunks[-1].choices == []
        assert completion_tokens(chunks[-1].usage) == 4


@each_kind
def test_an_answer_that_reached_its_length_says_so(forms: openai.OpenAI, kind: Kind) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        asked: Asked = {"model": kind.chat(), "messages": _MESSAGES, name: 3}
        whole = forms.chat.completions.create(**asked)
        assert completion_tokens(whole.usage) == 3
        last = end_of(forms.chat.completions.create(**asked, stream=True))
        assert whole.choices[0].finish_reason == last.finish_reason == "length"


@each_kind
def test_a_function_is_called_and_its_result_taken_back(forms: openai.OpenAI, kind: Kind) -> None:
    asked: Asked = {
        "model": kind.chat(),
        "messages": _MESSAGES,
        "tools": [_WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    }
    if "tool_choice" in kind.cannot:
        with pytest.raises(openai.BadRequestError) as raised:
            forms.chat.completions.create(**asked)
        assert raised.value.param == "tool_choice"
        return
    whole = forms.chat.completions.create(**asked)
    for completion in (whole, streamed(forms, **asked)):
        [choice] = completion.choices
        assert choice.finish_reason == "tool_calls"
        [call] = choice.message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "simulated", "days": 1}
        # As the client's own guide does it: what came back goes into the messages as it is.
        back: list[Any] = [*_MESSAGES, choice.message.to_dict(), _result(call.id)]
        second = forms.chat.completions.create(
            model=kind.chat(),
            messages=back,
            tools=[_WEATHER],
        )
        assert second.choices[0].finish_reason == "stop"
        assert second.choices[0].message.content


def _result(call_id: str) -> ChatCompletionMessageParam:
    return {"role": "tool", "tool_call_id": call_id, "content": "sunny"}


@each_kind
def test_an_image_is_taken(forms: openai.OpenAI, kind: Kind) -> None:
    parts: list[ChatCompletionContentPartParam] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": _IMAGE, "detail": "low"}},
    ]
    answer = forms.chat.completions.create(
        model=kind.chat(),
        messages=[{"role": "user", "content": parts}],
    )
    assert "What is this?" in (answer.choices[0].message.content or "")


@each_kind
def test_an_answer_is_parsed_by_a_model_of_pydantic(forms: openai.OpenAI, kind: Kind) -> None:
    answer = forms.chat.completions.parse(
        model=kind.chat(), messages=_MESSAGES, response_format=Recipe
    )
    recipe = answer.choices[0].message.parsed
    assert isinstance(recipe, Recipe)
    assert (recipe.title, recipe.is_hot) == ("simulated", True)
    assert recipe.steps == [Step(what="simulated", minutes=1)]


@each_kind
def test_effort_is_taken_and_thoughts_are_told(forms: openai.OpenAI, kind: Kind) -> None:
    answer = forms.chat.completions.create(
        model=kind.chat(), messages=_MESSAGES, reasoning_effort="low"
    )
    assert answer.choices[0].message.content
    if not kind.thinks:
        return
    thinks: Asked = dict(kind.thinks)
    for thought in (
        forms.chat.completions.create(model=kind.chat(), messages=_MESSAGES, **thinks),
        streamed(forms, model=kind.chat(), messages=_MESSAGES, **thinks),
    ):
        told = thought.choices[0].message.to_dict()
        assert told["reasoning_content"]
        assert told["content"]
        details = thought.usage.completion_tokens_details if thought.usage else None
        assert details is not None
        assert details.reasoning_tokens


@each_kind
def test_two_choices_come_or_are_refused_by_name(forms: openai.OpenAI, kind: Kind) -> None:
    asked: Asked = {"model": kind.chat("tokens=5"), "messages": _MESSAGES, "n": 2}
    if "n" in kind.cannot:
        with pytest.raises(openai.BadRequestError) as raised:
            forms.chat.completions.create(**asked)
        assert raised.value.param == "n"
        return
    whole = forms.chat.completions.create(**asked)
    for answer in (whole, streamed(forms, **asked)):
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert all(choice.finish_reason == "stop" for choice in answer.choices)
        assert len({choice.message.content for choice in answer.choices}) == 1
        if kind.counts:
            assert completion_tokens(answer.usage) == 10


@each_kind
def test_embeddings_come_as_base64_by_default_and_as_numbers(
    forms: openai.OpenAI, kind: Kind
) -> None:
    create = forms.embeddings.create
    if "embeddings" in kind.cannot:
        with pytest.raises(openai.BadRequestError) as raised:
            create(model=kind.embeddings, input="a")
        assert raised.value.param == "model"
        return
    decoded = create(model=kind.embeddings, input=["a", "b", "c"])
    numbers = create(model=kind.embeddings, input=["a", "b", "c"], encoding_format="float")
    assert [one.index for one in decoded.data] == [0, 1, 2]
    for one, other in zip(decoded.data, numbers.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    [alone] = create(model=kind.embeddings, input="b").data
    assert alone.embedding == pytest.approx(decoded.data[1].embedding, abs=1e-6)
    assert decoded.usage.total_tokens >= 0


@each_kind
def test_token_ids_are_embedded_or_refused_by_name(forms: openai.OpenAI, kind: Kind) -> None:
    if "embeddings" in kind.cannot:
        return
    ids = [[1, 2, 3], [4]]
    if "token ids" in kind.cannot:
        with pytest.raises(openai.BadRequestError) as raised:
            forms.embeddings.create(model=kind.embeddings, input=ids)
        assert str(raised.value.param).startswith("input")
        return
    answer = forms.embeddings.create(model=kind.embeddings, input=ids)
    assert len(answer.data) == 2
    assert answer.usage.prompt_tokens == 4


@each_kind
def test_headers_tell_who_answered(forms: openai.OpenAI, kind: Kind) -> None:
    raw = forms.chat.completions.with_raw_response.create(model=kind.chat(), messages=_MESSAGES)
    assert raw.headers["x-sluice-deployment"] == kind.chat()
    assert raw.headers["x-sluice-attempts"] == "1"
    assert float(raw.headers["x-sluice-provider-ms"]) > 0
    assert raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content


@each_kind
def test_every_kind_answers_at_once_to_the_async_client(
    open_forms_house: House, kind: Kind
) -> None:
    async def scenario() -> None:
        url = f"{open_forms_house.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client:
            model = kind.chat("tokens=6")
            ask = client.chat.completions.create
            answers = await asyncio.gather(
                *(ask(model=model, messages=_MESSAGES) for _ in range(4))
            )
            stream = await ask(model=model, messages=_MESSAGES, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        texts = {answer.choices[0].message.content for answer in answers}
        assert texts == {"".join(pieces)}

    asyncio.run(scenario())
