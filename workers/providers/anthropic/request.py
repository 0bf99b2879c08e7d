"""A chat request in OpenAI's form as a body of Anthropic's Messages API; every field is decided.

https://platform.claude.com/docs/en/api/messages/create
"""

from collections.abc import Mapping
from typing import Final

from workers.providers.anthropic.messages import called_tools, messages_of, system_of
from workers.providers.anthropic.models import most_tokens
from workers.providers.anthropic.thinking import Reasoning, Wish, thinking_of
from workers.providers.assembly import Fields
from workers.providers.base import ProviderCall
from workers.providers.form import (
    AllowedTools,
    ChatForm,
    FunctionTool,
    NamedFunction,
    OfJsonSchema,
    PlainText,
    Unfit,
    stops,
)

#: Fields that Anthropic has no place for, with the values that ask for nothing.
_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "seed": (),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "verbosity": ("medium",),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "moderation": (),
    "functions": ([],),
    "function_call": (),
}
_NOTHING: Final[Fields] = {"type": "object", "properties": {}}
_ANYTHING: Final[Fields] = {"type": "object"}
#: OpenAI's tiers that Anthropic has too; the others are hints that it has no place for.
_TIERS: Final = {"auto": "auto", "priority": "auto", "default": "standard_only"}


class AnthropicForm(ChatForm, frozen=True, kw_only=True):
    """A chat request with what Anthropic has a place for beyond OpenAI's fields."""

    thinking: Mapping[str, object] | None = None
    reasoning: Reasoning | None = None
    #: Caches all up to the last block that can be.
    cache_control: Mapping[str, object] | None = None
    safety_identifier: str | None = None
    user: str | None = None
    metadata: Mapping[str, object] | None = None
    service_tier: str | None = None


def body_of(call: ProviderCall, form: AnthropicForm) -> Fields:
    """Write the body; raises `Unfit`."""
    _check_neutral(form)
    told = (form.max_completion_tokens, form.max_tokens, most_tokens(call.model))
    most = next(most for most in told if most is not None)
    body: Fields = {
        "model": call.model,
        "max_tokens": most,
        "messages": messages_of(form.messages),
        "system": system_of(form.messages),
        "stop_sequences": stops(form),
        "tools": _tools(form),
        "tool_choice": _tool_choice(form),
        "temperature": _temperature(form),
        # 1 is the default of both, and newer models refuse them beside each other even so:
        # https://platform.claude.com/docs/en/build-with-claude/thinking
        "top_p": None if form.top_p == 1 else form.top_p,
        "top_k": form.top_k,
        "cache_control": form.cache_control,
        "metadata": _metadata(form),
        "service_tier": _TIERS.get(form.service_tier or ""),
    }
    thinking, effort = thinking_of(
        Wish(
            model=call.model,
            max_tokens=most,
            reasoning_effort=form.reasoning_effort,
            reasoning=form.reasoning,
            thinking=form.thinking,
        )
    )
    body["thinking"] = thinking
    body["output_config"] = _output(form, effort)
    given = {name: value for name, value in body.items() if value not in (None, [], {})}
    return {**given, "stream": call.stream}


def _check_neutral(form: ChatForm) -> None:
    for name, neutral in _NEUTRAL.items():
        value = getattr(form, name)
        if value is not None and value not in neutral:
            allowed = f" or give it as {neutral[0]!r}" if neutral else ""
            raise Unfit(name, f"Anthropic cannot do what `{name}` asks for: leave it out{allowed}.")


def _temperature(form: ChatForm) -> float | None:
    """Give the temperature: to 1 the scales are alike, and beyond it Anthropic has none."""
    if form.temperature is not None and form.temperature > 1:
        told = f"Anthropic's `temperature` ends at 1: give that instead of {form.temperature:g}."
        raise Unfit("temperature", told)
    return None if form.temperature == 1 else form.temperature


def _metadata(form: AnthropicForm) -> Fields:
    """Give the one thing that Anthropic takes: who the request is for."""
    told = (form.metadata or {}).get("user_id")
    user = form.safety_identifier or form.user or told
    return {"user_id": user} if isinstance(user, str) and user else {}


def _tools(form: ChatForm) -> list[Fields]:
    """Give the tools; where there are none any more, those that the messages called.

    Anthropic refuses calls of tools that it is told nothing of, and none of these may be called
    again (`_tool_choice`): https://github.com/anthropics/anthropic-sdk-python/issues/494
    """
    if form.tools:
        return [_tool(tool) for tool in _allowed(form)]
    return [{"name": name, "input_schema": _ANYTHING} for name in called_tools(form.messages)]


def _allowed(form: ChatForm) -> list[FunctionTool]:
    """Give the tools that may be used: of a list of allowed ones, the others stay away."""
    tools = form.tools or []
    if not isinstance(form.tool_choice, AllowedTools):
        return tools
    names = {tool.function.name for tool in form.tool_choice.allowed_tools.tools}
    if unknown := names - {tool.function.name for tool in tools}:
        told = f"`tools` has no {', '.join(sorted(unknown))}, which the choice allows."
        raise Unfit("tool_choice.allowed_tools.tools", told)
    return [tool for tool in tools if tool.function.name in names]


def _tool(tool: FunctionTool) -> Fields:
    function = tool.function
    written: Fields = {
        "name": function.name,
        "description": function.description,
        "input_schema": function.parameters or _NOTHING,
        "strict": function.strict,
        "cache_control": tool.cache_control,
    }
    return {name: value for name, value in written.items() if value is not None}


def _tool_choice(form: ChatForm) -> Fields:
    choice = form.tool_choice
    if isinstance(choice, AllowedTools):
        choice = choice.allowed_tools.mode
    if not form.tools:
        if choice in (None, "none", "auto"):
            return {"type": "none"} if called_tools(form.messages) else {}
        raise Unfit("tool_choice", "There are no `tools` to choose from.")
    if choice == "none":
        return {"type": "none"}
    chosen: Fields = {"type": "any" if choice == "required" else "auto"}
    if isinstance(choice, NamedFunction):
        chosen = {"type": "tool", "name": choice.function.name}
    if form.parallel_tool_calls is False:
        return {**chosen, "disable_parallel_tool_use": True}
    return {} if choice is None else chosen


def _output(form: ChatForm, effort: str) -> Fields:
    output: Fields = {"effort": effort} if effort else {}
    asked = form.response_format
    if asked is None or isinstance(asked, PlainText):
        return output
    if not isinstance(asked, OfJsonSchema) or asked.json_schema.schema is None:
        told = "Anthropic writes JSON by a schema alone: ask for `json_schema`, with a `schema`."
        raise Unfit("response_format", told)
    schema = dict(asked.json_schema.schema)
    if asked.json_schema.description:
        schema.setdefault("description", asked.json_schema.description)
    return {**output, "format": {"type": "json_schema", "schema": schema}}
