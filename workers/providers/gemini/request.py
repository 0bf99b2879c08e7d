"""A chat request in OpenAI's form as Gemini's GenerateContentRequest.

https://ai.google.dev/api/generate-content. Each field is decided here: those of `_PLAIN` keep
their value under another name, those of `_REFUSED` have no counterpart, hints are left out
(`form.HINTS`), the rest has a function. What Google adds to OpenAI's form is taken as its own
endpoint takes it (`extra_body.google`): https://ai.google.dev/gemini-api/docs/openai
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from workers.providers.assembly import Fields
from workers.providers.form import (
    AllowedTools,
    ChatForm,
    FunctionTool,
    JsonObject,
    NamedFunction,
    OfJsonSchema,
    Unfit,
    stops,
)
from workers.providers.gemini.contents import (
    contents_of,
    generation_of,
    instruction_of,
    resolution_of,
)

#: To the fields of `generationConfig`.
_PLAIN: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
}
#: Left out where they are 0, since many models refuse them whatever their value.
_PENALTIES: Final[Mapping[str, str]] = {
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
#: What cannot be said; beside it the values that say nothing, and what to do instead.
_REFUSED: Final[Mapping[str, tuple[tuple[object, ...], str]]] = {
    "logit_bias": (({},), "leave it out"),
    "parallel_tool_calls": ((True,), "leave it out, or take the first of several calls"),
    "verbosity": (("medium",), "ask for the length in the messages"),
    "audio": ((), "ask for text"),
    "web_search_options": ((), "leave it out"),
    "moderation": ((), "leave it out"),
    "functions": (([],), "use `tools`"),
    "function_call": (("none",), "use `tool_choice`"),
}
_MODALITIES: Final[Mapping[str, str]] = {"text": "TEXT", "image": "IMAGE"}
#: Tokens for thinking, of models that know no levels, as Google's own endpoint counts them.
_BUDGETS: Final[Mapping[str, int]] = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576,
}  # fmt: skip
_LEVELS: Final = ("minimal", "low", "medium", "high")


class Thinking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much the model thinks, and whether its thoughts are told."""

    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: Literal["minimal", "low", "medium", "high"] | None = None


class Safety(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At what a kind of harm is blocked."""

    category: str
    threshold: str


class Google(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Google adds to OpenAI's form."""

    thinking_config: Thinking = Thinking()
    safety_settings: list[Safety] = []
    cached_content: str | None = None


class ExtraBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Google's endpoint looks for its additions."""

    google: Google = Google()


class GeminiForm(ChatForm, frozen=True, kw_only=True):
    """A chat request with Google's additions, in either place where clients put them."""

    extra_body: ExtraBody = ExtraBody()
    google: Google | None = None


def request_of(form: GeminiForm, model: str) -> Fields:
    """Give the whole request; raises `Unfit`."""
    for name, (harmless, advice) in _REFUSED.items():
        value = getattr(form, name)
        if value is not None and value not in harmless:
            raise Unfit(name, f"Gemini has no counterpart of `{name}`: {advice}.")
    google = form.google or form.extra_body.google
    if google.cached_content:
        told = "A cache belongs to one key, and Sluice chooses among keys: send the messages whole."
        raise Unfit("extra_body.google.cached_content", told)
    request: Fields = {
        "contents": contents_of(form.messages, model),
        "systemInstruction": instruction_of(form.messages),
        "tools": _tools(form.tools or []),
        "toolConfig": _tool_config(form),
        "safetySettings": google.safety_settings,
        "generationConfig": _generation(form, google, model),
    }
    return {name: value for name, value in request.items() if value}


def _generation(form: GeminiForm, google: Google, model: str) -> Fields:
    config: Fields = {theirs: getattr(form, ours) for ours, theirs in _PLAIN.items()}
    config.update({theirs: getattr(form, ours) or None for ours, theirs in _PENALTIES.items()})
    most = form.max_completion_tokens
    config["maxOutputTokens"] = form.max_tokens if most is None else most
    config["stopSequences"] = stops(form) or None
    config["mediaResolution"] = resolution_of(form.messages)
    config["responseModalities"] = _modalities(form)
    config["thinkingConfig"] = _thinking(form.reasoning_effort, google.thinking_config, model)
    config.update(_logprobs(form))
    config.update(_format(form))
    return {name: value for name, value in config.items() if value is not None}


def _logprobs(form: ChatForm) -> Iterator[tuple[str, object]]:
    if form.top_logprobs and not form.logprobs:
        raise Unfit("top_logprobs", "`top_logprobs` needs `logprobs: true`.")
    if form.logprobs:
        yield "responseLogprobs", True
        yield "logprobs", form.top_logprobs or None


def _format(form: ChatForm) -> Iterator[tuple[str, object]]:
    """Ask for JSON; its schema's name and description are for people, and left out."""
    match form.response_format:
        case JsonObject():
            yield "responseMimeType", "application/json"
        case OfJsonSchema(json_schema=asked):
            yield "responseMimeType", "application/json"
            yield "responseJsonSchema", asked.schema


def _modalities(form: ChatForm) -> list[str] | None:
    for name in form.modalities or ():
        if name not in _MODALITIES:
            told = f"Of Gemini one can have {' and '.join(_MODALITIES)}, not {name!r}."
            raise Unfit("modalities", told)
    asked = [_MODALITIES[name] for name in form.modalities or ()]
    return asked if "IMAGE" in asked else None


def _thinking(effort: str | None, told: Thinking, model: str) -> Fields | None:
    config: Fields = {
        "includeThoughts": told.include_thoughts,
        "thinkingBudget": told.thinking_budget,
        "thinkingLevel": told.thinking_level,
    }
    if effort is not None:
        if told.thinking_budget is not None or told.thinking_level is not None:
            raise Unfit("reasoning_effort", "Give an effort or a budget or level, not both.")
        config.update(_effort(effort, model))
    return {name: value for name, value in config.items() if value is not None} or None


def _effort(effort: str, model: str) -> Fields:
    """Give the effort as Google's own endpoint maps it; no level of Gemini 3 is `none`."""
    levels = generation_of(model) >= 3
    if effort not in (_LEVELS if levels else _BUDGETS):
        known = ", ".join(_LEVELS if levels else _BUDGETS)
        told = f"{model} does not think at the effort {effort!r}: take one of {known}."
        raise Unfit("reasoning_effort", told)
    if not levels:
        return {"thinkingBudget": _BUDGETS[effort]}
    return {"thinkingLevel": "low" if effort == "minimal" and "pro" in model else effort}


def _tools(tools: list[FunctionTool]) -> list[Fields]:
    declared = [_declaration(tool) for tool in tools]
    return [{"functionDeclarations": declared}] if declared else []


def _declaration(tool: FunctionTool) -> Fields:
    """Declare a function; `parameters` would take OpenAPI's schemas alone, without `$ref`."""
    function = tool.function
    told: Fields = {
        "name": function.name,
        "description": function.description,
        "parametersJsonSchema": function.parameters,
    }
    return {name: value for name, value in told.items() if value}


def _tool_config(form: ChatForm) -> Fields | None:
    """Say whether functions may or must be called; `strict` ones want their schema kept to.

    Modes: https://ai.google.dev/gemini-api/docs/function-calling#function_calling_modes
    """
    if not form.tools and form.tool_choice in (None, "none", "auto"):
        return None
    strict = any(tool.function.strict for tool in form.tools or ())
    config: Fields | None = {"mode": "VALIDATED"} if strict else None
    match form.tool_choice:
        case "none":
            config = {"mode": "NONE"}
        case "required":
            config = {"mode": "ANY"}
        case "auto" if not strict:
            config = {"mode": "AUTO"}
        case NamedFunction(function=named):
            config = {"mode": "ANY", "allowedFunctionNames": [named.name]}
        case AllowedTools(allowed_tools=allowed):
            mode = "ANY" if allowed.mode == "required" else "VALIDATED"
            names = [tool.function.name for tool in allowed.tools]
            config = {"mode": mode, "allowedFunctionNames": names}
    return {"functionCallingConfig": config} if config else None
