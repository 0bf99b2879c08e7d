"""A request in OpenAI's form, read strictly, for translations into other forms.

Unknown fields and types are an `Unfit`, which names them; a field that is null was not given.
What a provider cannot express of the rest is for its translation to refuse with the same error.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from pipeline.errors import UpstreamError
from workers.providers import verdict
from workers.providers.base import ProviderCall
from workers.providers.openai import OWN_FIELDS

#: Fields that change no answer: left out where a provider has no place for them.
HINTS: Final = frozenset(
    {
        "metadata", "prediction", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "safety_identifier", "service_tier", "store", "stream",
        "stream_options", "user",
    }
)  # fmt: skip

_FAULT: Final = re.compile(r"^(.*?)(?: - at `\$\.?([^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_DATA_URL: Final = re.compile(r"data:([^;,]+)(?:;[^;,]+)*;base64,(.*)", re.DOTALL)


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Unfit(Exception):
    """A part of the request cannot be expressed in the provider's form."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        #: Path of the field, as `messages[0].content`.
        self.param = param
        self.message = message

    def error(self, call: ProviderCall) -> UpstreamError:
        """Give the failure that the client sees: status 400, naming the field."""
        return verdict.inexpressible(call, self.param, self.message)


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Text(_Form, frozen=True, kw_only=True, tag="text"):
    text: str
    #: Anthropic's mark of what to cache, which changes no answer; so on other parts and on tools.
    cache_control: Mapping[str, object] | None = None


class Refusal(_Form, frozen=True, kw_only=True, tag="refusal"):
    refusal: str


class ImageUrl(_Form, frozen=True, kw_only=True):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class Image(_Form, frozen=True, kw_only=True, tag="image_url"):
    image_url: ImageUrl
    #: Of an answer's image among its images.
    index: int | None = None
    cache_control: Mapping[str, object] | None = None


class AudioData(_Form, frozen=True, kw_only=True):
    #: Base64.
    data: str
    format: str


class Audio(_Form, frozen=True, kw_only=True, tag="input_audio"):
    input_audio: AudioData


class FileData(_Form, frozen=True, kw_only=True):
    #: A data URL.
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class File(_Form, frozen=True, kw_only=True, tag="file"):
    file: FileData
    cache_control: Mapping[str, object] | None = None


UserPart = Text | Image | Audio | File


class Called(_Form, frozen=True, kw_only=True):
    name: str
    #: A JSON object as text.
    arguments: str = ""
    #: The same as the official client's helpers read it; so `Assistant.parsed`.
    parsed_arguments: object = None


class ToolCall(_Form, frozen=True, kw_only=True):
    id: str
    function: Called
    type: Literal["function"] = "function"
    index: int | None = None
    #: By the maker of a provider's form, what belongs to the call beyond OpenAI's fields.
    extra_content: Mapping[str, object] | None = None


class System(_Form, frozen=True, kw_only=True, tag_field="role", tag="system"):
    content: str | list[Text]
    name: str | None = None


class Developer(System, frozen=True, kw_only=True, tag="developer"):
    """What newer models call the system's message."""


class User(_Form, frozen=True, kw_only=True, tag_field="role", tag="user"):
    content: str | list[UserPart]
    name: str | None = None


class Assistant(_Form, frozen=True, kw_only=True, tag_field="role", tag="assistant"):
    content: str | list[Text | Refusal] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None
    extra_content: Mapping[str, object] | None = None
    audio: Mapping[str, object] | None = None
    function_call: Mapping[str, object] | None = None
    #: Sources of an earlier answer, which its text holds already.
    annotations: list[object] | None = None
    #: Signed thoughts of an earlier answer, in OpenRouter's form and in LiteLLM's: only the
    #: provider that signed them can take them back.
    reasoning_details: list[Mapping[str, object]] | None = None
    thinking_blocks: list[Mapping[str, object]] | None = None
    #: Those that an earlier answer held, in OpenRouter's form.
    images: list[Image] | None = None
    parsed: object = None


class Tool(_Form, frozen=True, kw_only=True, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[Text]
    #: The function's, as older clients send it.
    name: str | None = None


Message = System | Developer | User | Assistant | Tool


class Function(_Form, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    #: A JSON Schema; none: the function takes nothing.
    parameters: Mapping[str, object] | None = None
    strict: bool | None = None


class FunctionTool(_Form, frozen=True, kw_only=True, tag="function"):
    function: Function
    cache_control: Mapping[str, object] | None = None


class Named(_Form, frozen=True, kw_only=True):
    name: str


class NamedFunction(_Form, frozen=True, kw_only=True, tag="function"):
    function: Named


class Allowed(_Form, frozen=True, kw_only=True):
    mode: Literal["auto", "required"]
    tools: list[NamedFunction]


class AllowedTools(_Form, frozen=True, kw_only=True, tag="allowed_tools"):
    allowed_tools: Allowed


ToolChoice = Literal["none", "auto", "required"] | NamedFunction | AllowedTools


class PlainText(_Form, frozen=True, kw_only=True, tag="text"):
    pass


class JsonObject(_Form, frozen=True, kw_only=True, tag="json_object"):
    pass


class JsonSchema(_Form, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    schema: Mapping[str, object] | None = None
    strict: bool | None = None


class OfJsonSchema(_Form, frozen=True, kw_only=True, tag="json_schema"):
    json_schema: JsonSchema


class ChatForm(_Form, frozen=True, kw_only=True):
    """A chat request, without Sluice's own fields and hints."""

    model: str = ""
    messages: list[Message]
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: PlainText | JsonObject | OfJsonSchema | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, object] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    audio: Mapping[str, object] | None = None
    web_search_options: Mapping[str, object] | None = None
    moderation: Mapping[str, object] | None = None
    functions: list[object] | None = None
    function_call: object = None


class EmbeddingForm(_Form, frozen=True, kw_only=True):
    """An embeddings request, without Sluice's own fields and hints."""

    model: str = ""
    input: str | list[str]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


F = TypeVar("F", bound=_Form)


def read(call: ProviderCall, form: type[F]) -> F:
    """Read the client's body as a form; raises `Unfit`."""
    try:
        given = msgspec.json.decode(call.body, type=dict[str, object])
        return msgspec.convert(_without_nulls(given, form), form)
    except msgspec.ValidationError as raised:
        raise _unfit(str(raised)) from raised
    except (msgspec.DecodeError, UnicodeDecodeError) as raised:
        raise Unfit("", f"The request's body is not a JSON object: {raised}.") from raised


def content_of(content: str | list[Text]) -> str:
    """Give the text of a content that is text alone; its parts are pieces of one text."""
    return content if isinstance(content, str) else "".join(part.text for part in content)


def stops(form: ChatForm) -> list[str]:
    """Give the stop sequences."""
    if isinstance(form.stop, str):
        return [form.stop]
    return form.stop or []


def arguments_of(tool_call: ToolCall, param: str) -> Mapping[str, msgspec.Raw]:
    """Read a call's arguments; raises `Unfit` when they are no JSON object."""
    arguments = json_object(tool_call.function.arguments or "{}")
    if arguments is None:
        told = f"The arguments of the tool call {tool_call.id!r} are not a JSON object."
        raise Unfit(f"{param}.function.arguments", told)
    return arguments


def json_object(text: str) -> Mapping[str, msgspec.Raw] | None:
    """Read a JSON object, whose values stay as they are written; None: it is none."""
    try:
        return _object.decode(text)
    except msgspec.DecodeError:
        return None


def names_of_calls(messages: Sequence[Message]) -> Mapping[str, str]:
    """Give the function's name by each tool call's id."""
    return {
        tool_call.id: tool_call.function.name
        for message in messages
        if isinstance(message, Assistant)
        for tool_call in message.tool_calls or ()
    }


def data_of(url: str) -> tuple[str, str] | None:
    """Give the MIME type and the base64 of a data URL; None: it is none."""
    found = _DATA_URL.fullmatch(url)
    return (found[1], found[2]) if found else None


def _without_nulls(given: Mapping[str, object], form: type[_Form]) -> dict[str, object]:
    """Leave out what is not for the provider, hints but those that the form has a place for."""
    left_out = (HINTS - set(form.__struct_fields__)) | OWN_FIELDS
    return {
        name: value for name, value in given.items() if value is not None and name not in left_out
    }


def _unfit(told: str) -> Unfit:
    found = _FAULT.match(told)
    message, path = found.groups() if found else (told, None)
    if unknown := _UNKNOWN.fullmatch(message):
        name = unknown[1]
        where = f"{path}.{name}" if path else name
        return Unfit(where, f"`{where}` is not known here, and would be lost: leave it out.")
    return Unfit(path or "", f"{message}{f' in `{path}`' if path else ''}.")
