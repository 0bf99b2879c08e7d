"""How much a model is to think: OpenAI's, OpenRouter's and Anthropic's fields as Anthropic's two.

Models since Claude 4.6 decide for themselves how much (`adaptive`, with an effort); those before
are given a budget. https://platform.claude.com/docs/en/build-with-claude/thinking
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from workers.providers.anthropic.models import is_budgeted
from workers.providers.assembly import Fields
from workers.providers.form import Unfit

_EFFORTS: Final = {
    "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh",
    "max": "max",
}  # fmt: skip
#: In tokens, as Google spends them on the same words of OpenAI's in its own endpoint of that form:
#: https://ai.google.dev/gemini-api/docs/openai
_BUDGETS: Final = {
    "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576,
}  # fmt: skip
#: Anthropic's least.
_LEAST: Final = 1024
_KINDS: Final = ("adaptive", "between_tools", "disabled", "enabled")


class Reasoning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenRouter's field `reasoning`."""

    effort: str | None = None
    #: At most so many.
    max_tokens: int | None = None
    enabled: bool | None = None
    #: Think, and do not tell what.
    exclude: bool | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of thinking, in whichever field."""

    model: str
    max_tokens: int
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    thinking: Mapping[str, object] | None = None


def thinking_of(wish: Wish) -> tuple[Fields, str]:
    """Give `thinking`, and the effort; empty: say nothing of it. Raises `Unfit`."""
    reasoning = wish.reasoning
    if wish.thinking is not None and reasoning is not None:
        raise Unfit("reasoning", "`thinking` and `reasoning` say the same: give one of them.")
    if wish.reasoning_effort and reasoning is not None and reasoning.effort:
        told = "`reasoning_effort` and `reasoning.effort` say the same: give one of them."
        raise Unfit("reasoning.effort", told)
    if wish.thinking is not None:
        return _own(wish.thinking), _effort(wish.reasoning_effort, "reasoning_effort")
    if reasoning is None:
        return _of_effort(wish, wish.reasoning_effort, "reasoning_effort")
    thinking, effort = _of_reasoning(wish, reasoning)
    if reasoning.exclude and thinking.get("type") in ("adaptive", "enabled"):
        thinking["display"] = "omitted"
    return thinking, effort


def _own(thinking: Mapping[str, object]) -> Fields:
    if thinking.get("type") not in _KINDS:
        raise Unfit("thinking.type", f"The type of `thinking` is one of {', '.join(_KINDS)}.")
    return dict(thinking)


def _of_reasoning(wish: Wish, reasoning: Reasoning) -> tuple[Fields, str]:
    if reasoning.enabled is False:
        return {"type": "disabled"}, ""
    if reasoning.max_tokens is not None:
        return _budget(wish, reasoning.max_tokens, "reasoning.max_tokens"), ""
    if wish.reasoning_effort:
        return _of_effort(wish, wish.reasoning_effort, "reasoning_effort")
    return _of_effort(wish, reasoning.effort or "medium", "reasoning.effort")


def _of_effort(wish: Wish, effort: str | None, param: str) -> tuple[Fields, str]:
    if effort is None:
        return {}, ""
    if effort == "none":
        return {"type": "disabled"}, ""
    said = _effort(effort, param)
    if is_budgeted(wish.model):
        return _budget(wish, _BUDGETS[effort], param), ""
    # Newer models tell their thoughts only when asked to.
    return {"type": "adaptive", "display": "summarized"}, said


def _effort(effort: str | None, param: str) -> str:
    if effort is None:
        return ""
    if effort not in _EFFORTS:
        raise Unfit(param, f"`{param}` is one of none, {', '.join(_EFFORTS)}.")
    return _EFFORTS[effort]


def _budget(wish: Wish, tokens: int, param: str) -> Fields:
    """Give a budget that leaves room for an answer: Anthropic counts both as `max_tokens`."""
    if wish.max_tokens <= _LEAST:
        told = f"Thinking takes {_LEAST} tokens at the least: allow more than {wish.max_tokens}"
        raise Unfit(param, f"{told} as `max_completion_tokens`.")
    budget = max(_LEAST, min(tokens, wish.max_tokens - 1))
    return {"type": "enabled", "budget_tokens": budget}
