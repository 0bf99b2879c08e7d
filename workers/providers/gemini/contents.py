"""The messages of a chat request as Gemini's `contents` and `systemInstruction`.

Gemini has two roles, `user` and `model`, and one instruction for all turns: system messages go
there in their order, wherever they stood. https://ai.google.dev/api/caching#Content
"""

import mimetypes
import re
from collections.abc import Mapping, Sequence
from typing import Final, assert_never
from urllib.parse import urlsplit

from workers.providers.assembly import Fields
from workers.providers.form import (
    Assistant,
    Audio,
    Developer,
    File,
    Image,
    Message,
    Refusal,
    System,
    Text,
    Tool,
    ToolCall,
    Unfit,
    User,
    UserPart,
    arguments_of,
    content_of,
    data_of,
    json_object,
)

#: Takes a missing signature's place where another model made the call, which Gemini 3 and later
#: would refuse: https://ai.google.dev/gemini-api/docs/thought-signatures
UNSIGNED: Final = "skip_thought_signature_validator"

_GENERATION: Final = re.compile(r"gemini-(\d+)")
_FILES: Final = "generativelanguage.googleapis.com"
#: https://ai.google.dev/gemini-api/docs/audio#supported-formats
_AUDIO: Final = {name: f"audio/{name}" for name in ("wav", "mp3", "aiff", "aac", "ogg", "flac")}
_RESOLUTIONS: Final = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}

Parts = list[Fields]


def generation_of(model: str) -> int:
    """Tell the generation of a model, as 2 for `gemini-2.5-pro`; 0: its name does not say."""
    found = _GENERATION.search(model)
    return int(found[1]) if found else 0


def contents_of(messages: Sequence[Message], model: str) -> list[Fields]:
    """Give all turns but the system's; raises `Unfit`."""
    writer = _Writer(signed=generation_of(model) >= 3)
    for at, message in enumerate(messages):
        writer.add(message, f"messages[{at}]")
    if not writer.contents:
        raise Unfit("messages", "Gemini wants a message of a user: `messages` has only a system's.")
    return writer.contents


def instruction_of(messages: Sequence[Message]) -> Fields | None:
    """Give what the system says, in one; None: it says nothing."""
    said = [message for message in messages if isinstance(message, System | Developer)]
    parts: Parts = [part for message in said for part in _texts(message.content)]
    return {"parts": parts} if parts else None


def resolution_of(messages: Sequence[Message]) -> str | None:
    """Give how closely all images are to be looked at; None: nobody says. Raises `Unfit`."""
    told = {
        part.image_url.detail or "auto"
        for message in messages
        if isinstance(message, User) and not isinstance(message.content, str)
        for part in message.content
        if isinstance(part, Image)
    }
    if len(told) > 1:
        wish = "give all images of a request the same `detail`"
        raise Unfit("messages", f"Gemini looks at all images alike: {wish}.")
    return _RESOLUTIONS.get(*told) if told else None


class _Writer:
    """The turns in the making: neighbours of one kind share a turn, as Gemini has it."""

    def __init__(self, *, signed: bool) -> None:
        self.contents: list[Fields] = []
        #: Whether the model wants the signatures of its calls back.
        self._signed = signed
        #: The function's name by each call's id, of the calls so far.
        self._called: dict[str, str] = {}
        self._latest: type[Message] | None = None

    def add(self, message: Message, param: str) -> None:
        """Take the next message."""
        match message:
            case System() | Developer():
                _check_nameless(message.name, param)
            case User():
                _check_nameless(message.name, param)
                self._turn("user", User, _of_user(message, param))
            case Assistant():
                self._turn("model", Assistant, self._of_assistant(message, param))
            case Tool():
                self._turn("user", Tool, [self._of_tool(message, param)])
            case _:
                assert_never(message)

    def _turn(self, role: str, kind: type[Message], parts: Parts) -> None:
        """Add to the turn of the same kind; results of calls stay apart from a user's words."""
        if kind is self._latest:
            held = self.contents[-1]["parts"]
            assert isinstance(held, list)
            held.extend(parts)
        else:
            self.contents.append({"role": role, "parts": parts})
        self._latest = kind

    def _of_assistant(self, message: Assistant, param: str) -> Parts:
        _check_nameless(message.name, param)
        for name in ("audio", "function_call"):
            if getattr(message, name):
                raise Unfit(f"{param}.{name}", f"Gemini cannot take `{name}` of an earlier answer.")
        thought: Parts = []
        if message.reasoning_content:
            thought.append({"text": message.reasoning_content, "thought": True})
        said = _texts(message.content) if message.content else []
        if message.refusal:
            said.append({"text": message.refusal})
        for at, image in enumerate(message.images or ()):
            said.append(_image(image, f"{param}.images[{at}]"))
        if said and (signature := signature_of(message.extra_content)):
            said[-1]["thoughtSignature"] = signature
        calls = [
            self._call(tool_call, f"{param}.tool_calls[{at}]", first=not at)
            for at, tool_call in enumerate(message.tool_calls or ())
        ]
        if not (said or calls):
            told = "A message of the assistant needs `content` or `tool_calls`."
            raise Unfit(f"{param}.content", told)
        return [*thought, *said, *calls]

    def _call(self, tool_call: ToolCall, param: str, *, first: bool) -> Fields:
        name, args = tool_call.function.name, arguments_of(tool_call, param)
        self._called[tool_call.id] = name
        part: Fields = {"functionCall": {"id": tool_call.id, "name": name, "args": args}}
        signature = signature_of(tool_call.extra_content)
        if signature:
            part["thoughtSignature"] = signature
        elif self._signed and first:
            part["thoughtSignature"] = UNSIGNED
        return part

    def _of_tool(self, message: Tool, param: str) -> Fields:
        name = self._called.get(message.tool_call_id)
        if name is None:
            told = f"No message before this one has a tool call {message.tool_call_id!r}."
            raise Unfit(f"{param}.tool_call_id", told)
        text = content_of(message.content)
        response = json_object(text)
        answer: Fields = {
            "id": message.tool_call_id,
            "name": name,
            "response": {"output": text} if response is None else response,
        }
        return {"functionResponse": answer}


def signature_of(extra: Mapping[str, object] | None) -> str:
    """Find `google.thought_signature`, where Google's own endpoint of OpenAI's form has it.

    https://ai.google.dev/gemini-api/docs/openai
    """
    google = extra.get("google") if extra else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def _check_nameless(name: str | None, param: str) -> None:
    if name:
        told = "Gemini knows no names of those who speak: leave `name` out, or write it in the text"
        raise Unfit(f"{param}.name", f"{told}.")


def _texts(content: str | Sequence[Text | Refusal]) -> Parts:
    if isinstance(content, str):
        return [{"text": content}]
    return [{"text": part.text if isinstance(part, Text) else part.refusal} for part in content]


def _of_user(message: User, param: str) -> Parts:
    if isinstance(message.content, str):
        return [{"text": message.content}]
    if not message.content:
        raise Unfit(f"{param}.content", "A message needs at least one part.")
    return [_part(part, f"{param}.content[{at}]") for at, part in enumerate(message.content)]


def _part(part: UserPart, param: str) -> Fields:
    match part:
        case Text():
            return {"text": part.text}
        case Image():
            return _image(part, param)
        case Audio():
            return _audio(part, param)
        case File():
            return _file(part, param)
        case _:
            assert_never(part)


def _image(part: Image, param: str) -> Fields:
    url = part.image_url.url
    return _inline(url) or _linked(url, f"{param}.image_url.url")


def _audio(part: Audio, param: str) -> Fields:
    kind = _AUDIO.get(part.input_audio.format)
    if kind is None:
        told = f"The format of audio is one of {', '.join(_AUDIO)}."
        raise Unfit(f"{param}.input_audio.format", told)
    return {"inlineData": {"mimeType": kind, "data": part.input_audio.data}}


def _file(part: File, param: str) -> Fields:
    """Take a file's data, or its address in place of an id."""
    file = part.file
    if file.file_data:
        if inline := _inline(file.file_data):
            return inline
        kind = mimetypes.guess_type(file.filename or "")[0]
        if kind is None:
            told = "A file is a data URL, `data:application/pdf;base64,…`, or has a telling name."
            raise Unfit(f"{param}.file.file_data", told)
        return {"inlineData": {"mimeType": kind, "data": file.file_data}}
    return _linked(file.file_id or "", f"{param}.file.file_id")


def _inline(url: str) -> Fields | None:
    data = data_of(url)
    return {"inlineData": {"mimeType": data[0], "data": data[1]}} if data else None


def _linked(url: str, param: str) -> Fields:
    """Link to what the API fetches: https://ai.google.dev/gemini-api/docs/file-input-methods"""
    if not url.startswith(("https://", "http://", "gs://")):
        told = "Gemini takes base64 in a data URL, or an address that begins with https://"
        raise Unfit(param, f"{told}; it does not know files by an OpenAI id.")
    if urlsplit(url).hostname == _FILES:
        raise Unfit(param, "An uploaded file belongs to one key, and Sluice chooses among keys.")
    kind = mimetypes.guess_type(url.partition("?")[0])[0]
    return {"fileData": {"mimeType": kind, "fileUri": url} if kind else {"fileUri": url}}
