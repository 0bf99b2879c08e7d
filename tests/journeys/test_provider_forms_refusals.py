"""The official `openai` client and what providers of every kind, or the house, refuse."""

from typing import Final

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.journeys.forms_house import KINDS, POOR, Asked, Kind, completion_tokens, end_of

pytestmark = pytest.mark.journey

_MESSAGES: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "Tell me more"}]

each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@each_kind
def test_an_unknown_field_passes_or_is_refused_by_name(forms: openai.OpenAI, kind: Kind) -> None:
    def ask() -> int:
        more = {"made_up": 1, "simulate": {"tokens": 3}}
        answer = forms.chat.completions.create(
            model=kind.chat(),
            messages=_MESSAGES,
            extra_body=more if kind.passes else {"made_up": 1},
        )
        return completion_tokens(answer.usage)

    if kind.passes:
        assert ask() == 3
        return
    with pytest.raises(openai.BadRequestError) as raised:
        ask()
    assert raised.value.param == "made_up"
    assert "made_up" in raised.value.message


@each_kind
def test_errors_of_the_provider_are_the_clients_own(forms: openai.OpenAI, kind: Kind) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        forms.chat.completions.create(model=kind.chat("error=400"), messages=_MESSAGES)
    assert "400, as asked" in refused.value.message
    with pytest.raises(openai.NotFoundError):
        forms.chat.completions.create(model=kind.chat("error=404"), messages=_MESSAGES)
    limited = f"{kind.name}-limited/{kind.model}:error=429,retry_after_ms=86400000"
    with pytest.raises(openai.RateLimitError) as late:
        forms.chat.completions.create(model=limited, messages=_MESSAGES)
    assert float(late.value.response.headers["retry-after"]) > 0


def test_what_the_house_itself_refuses(forms: openai.OpenAI) -> None:
    strangers = forms.with_options(api_key="slu-nobody-0123456789abcdef")
    with pytest.raises(openai.AuthenticationError) as unknown:
        strangers.chat.completions.create(model="strict", messages=_MESSAGES)
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        forms.chat.completions.create(model="nobody", messages=_MESSAGES)
    poor = forms.with_options(api_key=POOR)
    poor.chat.completions.create(model="strict", messages=_MESSAGES)
    with pytest.raises(openai.RateLimitError) as limited:
        poor.chat.completions.create(model="strict", messages=_MESSAGES)
    assert limited.value.response.headers["retry-after"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_one_form_cannot_say_is_asked_of_another(
    forms: openai.OpenAI, *, stream: bool
) -> None:
    asked: Asked = {"messages": _MESSAGES, "logit_bias": {"1": 1}, "stream": stream}
    raw = forms.chat.completions.with_raw_response.create(model="any-form", **asked)
    assert raw.headers["x-sluice-deployment"] == "openai/m-1"
    with pytest.raises(openai.BadRequestError) as raised:
        forms.chat.completions.create(model="no-form", **asked)
    assert raised.value.param == "logit_bias"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
def test_what_is_withheld_goes_to_the_fallbacks_for_that(
    forms: openai.OpenAI, name: str, *, stream: bool
) -> None:
    raw = forms.chat.completions.with_raw_response.create(
        model=f"prim-{name}", messages=_MESSAGES, stream=stream
    )
    assert raw.headers["x-sluice-deployment"] == "vllm/frank:tokens=3"


def test_what_is_withheld_is_told_where_nobody_else_may_answer(forms: openai.OpenAI) -> None:
    create = forms.chat.completions.create
    [whole] = create(model="prim", messages=_MESSAGES).choices
    last = end_of(create(model="prim", messages=_MESSAGES, stream=True))
    assert whole.finish_reason == last.finish_reason == "content_filter"
    assert not whole.message.content
