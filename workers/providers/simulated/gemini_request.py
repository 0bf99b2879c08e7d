"""Gemini's requests as the simulated provider reads them: as strictly as the API does.

https://ai.google.dev/api/generate-content, https://ai.google.dev/api/embeddings
"""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

import msgspec

from workers.providers.simulated.chat import ECHO_CHARACTERS, estimate_tokens
from workers.providers.simulated.errors import RefusalError
from workers.providers.simulated.faults import Dimensions

Schema = Mapping[str, object]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$")]
_Told = Annotated[str, msgspec.Meta(min_length=1)]
_DATA: Final = ("text", "inline_data", "file_data", "function_call", "function_response")
_SIGNED: Final = re.compile(r"gemini-[3-9]")


class _Strict(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    pass


class Blob(_Strict, frozen=True, kw_only=True):
    mime_type: _Told
    data: _Told


class FileData(_Strict, frozen=True, kw_only=True):
    file_uri: _Told
    mime_type: str | None = None


class FunctionCall(_Strict, frozen=True, kw_only=True):
    name: _Name
    id: str | None = None
    args: Schema = {}


class FunctionResponse(_Strict, frozen=True, kw_only=True):
    name: _Name
    id: str | None = None
    response: Schema


class Part(_Strict, frozen=True, kw_only=True):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None


class Content(_Strict, frozen=True, kw_only=True):
    parts: Annotated[list[Part], msgspec.Meta(min_length=1)]
    role: Literal["user", "model"] = "user"


class Declaration(_Strict, frozen=True, kw_only=True):
    name: _Name
    description: str = ""
    parameters: Schema | None = None
    parameters_json_schema: Schema | None = None


class Tool(_Strict, frozen=True, kw_only=True):
    function_declarations: list[Declaration]


class Calling(_Strict, frozen=True, kw_only=True):
    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] = []


class ToolConfig(_Strict, frozen=True, kw_only=True):
    function_calling_config: Calling = Calling()


class Safety(_Strict, frozen=True, kw_only=True):
    category: Annotated[str, msgspec.Meta(pattern="^HARM_CATEGORY_")]
    threshold: Literal[
        "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"
    ]


class Thinking(_Strict, frozen=True, kw_only=True):
    include_thoughts: bool = False
    thinking_budget: int | None = None
    thinking_level: Literal["minimal", "low", "medium", "high"] | None = None


class Generation(_Strict, frozen=True, kw_only=True):
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    candidate_count: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    seed: int | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stop_sequences: Annotated[list[_Told], msgspec.Meta(max_length=5)] = []
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, lt=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, lt=2)] | None = None
    response_logprobs: bool = False
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_mime_type: Literal["text/plain", "application/json"] = "text/plain"
    response_json_schema: Schema | None = None
    response_modalities: list[Literal["TEXT", "IMAGE", "AUDIO"]] = []
    media_resolution: Annotated[str, msgspec.Meta(pattern="^MEDIA_RESOLUTION_")] | None = None
    thinking_config: Thinking = Thinking()


class Generate(_Strict, frozen=True, kw_only=True):
    """The body of `generateContent`."""

    contents: Annotated[list[Content], msgspec.Meta(min_length=1)]
    system_instruction: Content | None = None
    tools: list[Tool] = []
    tool_config: ToolConfig = ToolConfig()
    safety_settings: list[Safety] = []
    cached_content: str | None = None
    generation_config: Generation = Generation()

    def texts(self) -> Iterator[str]:
        """Give all that is said."""
        system = [self.system_instruction] if self.system_instruction else []
        for content in (*system, *self.contents):
            yield from (part.text or "" for part in content.parts)

    def prompt_tokens(self) -> int:
        """Estimate the tokens of all that is said, rounded up."""
        return estimate_tokens(sum(map(len, self.texts())))

    def echo(self) -> str:
        """Return the beginning of the user's last words on one line."""
        for content in reversed(self.contents):
            said = " ".join(part.text for part in content.parts if part.text)
            if content.role == "user" and said:
                return " ".join(said[: 4 * ECHO_CHARACTERS].split())[:ECHO_CHARACTERS]
        return ""

    def beginning(self) -> str:
        """Return what the answer is to go on from; empty: from nothing."""
        last = self.contents[-1]
        return "".join(part.text or "" for part in last.parts) if last.role == "model" else ""

    def declared(self) -> Mapping[str, Declaration]:
        """Give the functions that may be called, by name."""
        return {one.name: one for tool in self.tools for one in tool.function_declarations}


class Embed(_Strict, frozen=True, kw_only=True):
    """The body of `embedContent`, and each request of `batchEmbedContents`."""

    content: Content
    model: str = ""
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: Dimensions | None = None

    def text(self) -> str:
        """Give what is to be embedded."""
        return "".join(part.text or "" for part in self.content.parts)


class BatchEmbed(_Strict, frozen=True, kw_only=True):
    """The body of `batchEmbedContents`."""

    requests: Annotated[list[Embed], msgspec.Meta(min_length=1, max_length=100)]


def check(request: Generate, model: str) -> None:
    """Refuse what the API refuses though its fields are right; raises RefusalError."""
    calls: list[str] = []
    for at, content in enumerate(request.contents):
        where = f"contents[{at}]"
        for part in content.parts:
            _check_part(part, where)
        calls = _check_turn(content, calls, where, signed=bool(_SIGNED.match(model)))
    _check_functions(request)
    config = request.generation_config
    thinking = config.thinking_config
    if thinking.thinking_budget is not None and thinking.thinking_level:
        raise RefusalError(400, "You can only set only one of thinking budget and thinking level.")
    if config.response_json_schema and config.response_mime_type != "application/json":
        raise RefusalError(400, "A response schema needs the response mime type application/json.")
    if config.logprobs is not None and not config.response_logprobs:
        raise RefusalError(400, "Logprobs can only be set if response_logprobs is set.")


def _check_part(part: Part, where: str) -> None:
    if sum(getattr(part, name) is not None for name in _DATA) != 1:
        told = f"{where}.parts: required oneof field 'data' must have one initialized field"
        raise RefusalError(400, f"{told}.")
    if part.inline_data is not None:
        try:
            b64decode(part.inline_data.data, validate=True)
        except Error:
            raise RefusalError(400, f"{where}: Base64 decoding failed.") from None


def _check_turn(content: Content, calls: list[str], where: str, *, signed: bool) -> list[str]:
    """Check that calls and their results stand beside each other; give the open calls."""
    made = [part for part in content.parts if part.function_call]
    answered = [part.function_response.name for part in content.parts if part.function_response]
    if made and content.role != "model":
        raise RefusalError(400, f"{where}: only the model calls functions.")
    if len(answered) != len(calls) or set(answered) != set(calls):
        told = "the function response parts should equal the function call parts of the turn before"
        raise RefusalError(400, f"{where}: please ensure that {told}.")
    if made and signed and not made[0].thought_signature:
        raise RefusalError(400, f"{where}: function call is missing a thought_signature.")
    return [part.function_call.name for part in made if part.function_call]


def _check_functions(request: Generate) -> None:
    declared = request.declared()
    config = request.tool_config.function_calling_config
    allowed = config.allowed_function_names
    if config.mode == "ANY" and not declared:
        raise RefusalError(400, "Function calling mode ANY needs function declarations.")
    if allowed and config.mode not in ("ANY", "VALIDATED"):
        raise RefusalError(400, "Allowed function names need the mode ANY or VALIDATED.")
    if unknown := set(allowed) - declared.keys():
        raise RefusalError(400, f"Allowed function names are not declared: {sorted(unknown)}.")
    for one in declared.values():
        if one.parameters and one.parameters_json_schema:
            raise RefusalError(400, f"{one.name}: parameters and parameters_json_schema exclude.")
