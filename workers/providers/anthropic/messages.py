"""The messages of a chat request as Anthropic's `messages` and `system`.

System messages stand apart, in their order, wherever they stood; neighbours of one role share a
message, and the results of tools come first in theirs.
https://platform.claude.com/docs/en/api/messages/create
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, assert_never

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
    data_of,
)

#: How OpenRouter marks thoughts that Anthropic signed, and so do we.
SIGNED_FORMAT: Final = "anthropic-claude-v1"

#: Ids that other providers gave may hold what Anthropic refuses.
_NOT_OF_AN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
_IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF: Final = "application/pdf"

Blocks = list[Fields]


def system_of(messages: Sequence[Message]) -> Blocks:
    """Give what the system says, a block for each part; raises `Unfit`."""
    blocks: Blocks = []
    for at, message in enumerate(messages):
        if isinstance(message, System | Developer):
            _check_nameless(message.name, f"messages[{at}]")
            blocks += _texts(message.content)
    return blocks


def messages_of(messages: Sequence[Message]) -> Blocks:
    """Give all turns but the system's, in alternating roles; raises `Unfit`."""
    turns: list[tuple[str, Blocks]] = []
    for at, message in enumerate(messages):
        if isinstance(message, System | Developer):
            continue
        role = "assistant" if isinstance(message, Assistant) else "user"
        blocks = _blocks(message, f"messages[{at}]")
        if not blocks:
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if turns and turns[-1][0] == "assistant":
        _trim(turns[-1][1])
        turns = [turn for turn in turns if turn[1]]
    if not turns:
        raise Unfit("messages", "Anthropic wants a message of a user that is not empty.")
    return [{"role": role, "content": _results_first(blocks)} for role, blocks in turns]


def called_tools(messages: Sequence[Message]) -> list[str]:
    """Name the tools that were called, each once."""
    said = [message for message in messages if isinstance(message, Assistant)]
    calls = [call.function.name for message in said for call in message.tool_calls or ()]
    return list(dict.fromkeys(calls))


def _blocks(message: User | Assistant | Tool, param: str) -> Blocks:
    match message:
        case User():
            _check_nameless(message.name, param)
            return _of_user(message, param)
        case Assistant():
            _check_nameless(message.name, param)
            return _of_assistant(message, param)
        case Tool():
            return [_result(message)]
        case _:
            assert_never(message)


def _results_first(blocks: Blocks) -> Blocks:
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _trim(blocks: Blocks) -> None:
    """End a beginning of the answer without white space, which Anthropic refuses there."""
    last = blocks[-1]
    if last["type"] == "text":
        last["text"] = str(last["text"]).rstrip()
        if not last["text"]:
            blocks.pop()


def _of_user(message: User, param: str) -> Blocks:
    if isinstance(message.content, str):
        return _texts(message.content)
    found = (_part(part, f"{param}.content[{at}]") for at, part in enumerate(message.content))
    return [block for block in found if block is not None]


def _part(part: UserPart, param: str) -> Fields | None:
    match part:
        case Text():
            return _text(part.text, part.cache_control) if part.text else None
        case Image():
            source = _image_source(part.image_url.url, f"{param}.image_url.url")
            return _cached({"type": "image", "source": source}, part.cache_control)
        case File():
            return _document(part, f"{param}.file")
        case Audio():
            told = "Anthropic takes no audio: send its transcript as text."
            raise Unfit(f"{param}.input_audio", told)
        case _:
            assert_never(part)


def _image_source(url: str, param: str) -> Fields:
    data = data_of(url)
    if data is not None:
        if data[0] not in _IMAGE_TYPES:
            told = f"Anthropic takes images of the types {', '.join(_IMAGE_TYPES)}, not {data[0]}."
            raise Unfit(param, told)
        return {"type": "base64", "media_type": data[0], "data": data[1]}
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    told = "An image is a data URL with base64, or an address that begins with https://"
    raise Unfit(param, told)


def _document(part: File, param: str) -> Fields:
    file = part.file
    if not file.file_data:
        told = "Anthropic does not know files by an OpenAI id: send `file_data`, a PDF as data URL."
        raise Unfit(f"{param}.file_id", told)
    kind, data = data_of(file.file_data) or (_PDF, file.file_data)
    if kind != _PDF or data.startswith("data:"):
        told = "Anthropic takes files that are PDF: `data:application/pdf;base64,…`."
        raise Unfit(f"{param}.file_data", told)
    source = {"type": "base64", "media_type": _PDF, "data": data}
    block: Fields = {"type": "document", "source": source}
    if file.filename:
        block["title"] = file.filename
    return _cached(block, part.cache_control)


def _of_assistant(message: Assistant, param: str) -> Blocks:
    for name in ("audio", "function_call", "images"):
        if getattr(message, name):
            told = f"Anthropic cannot take `{name}` of an earlier answer."
            raise Unfit(f"{param}.{name}", told)
    calls = message.tool_calls or ()
    return [
        *_thoughts(message),
        *_texts(message.content or ""),
        *_texts(message.refusal or ""),
        *(_called(call, f"{param}.tool_calls[{at}]") for at, call in enumerate(calls)),
    ]


def _thoughts(message: Assistant) -> Iterator[Fields]:
    """Give the thoughts that Anthropic signed; others' it could not check, and would refuse.

    https://platform.claude.com/docs/en/build-with-claude/extended-thinking
    """
    for block in message.thinking_blocks or ():
        if block.get("type") in ("thinking", "redacted_thinking"):
            yield dict(block)
    if message.thinking_blocks is None:
        for detail in message.reasoning_details or ():
            if detail.get("format", SIGNED_FORMAT) == SIGNED_FORMAT:
                yield from _of_detail(detail)


def _of_detail(detail: Mapping[str, object]) -> Iterator[Fields]:
    if detail.get("type") == "reasoning.text" and detail.get("signature"):
        thinking, signature = detail.get("text") or "", detail["signature"]
        yield {"type": "thinking", "thinking": thinking, "signature": signature}
    elif detail.get("type") == "reasoning.encrypted" and detail.get("data"):
        yield {"type": "redacted_thinking", "data": detail["data"]}


def _called(call: ToolCall, param: str) -> Fields:
    return {
        "type": "tool_use",
        "id": _id(call.id),
        "name": call.function.name,
        "input": arguments_of(call, param),
    }


def _result(message: Tool) -> Fields:
    content = message.content if isinstance(message.content, str) else _texts(message.content)
    return {
        "type": "tool_result",
        "tool_use_id": _id(message.tool_call_id),
        "content": content,
    }


def _id(given: str) -> str:
    return _NOT_OF_AN_ID.sub("_", given)


def _texts(content: str | Iterable[Text | Refusal]) -> Blocks:
    """Give a block for each text; empty ones, which say nothing, Anthropic refuses."""
    if isinstance(content, str):
        return [_text(content)] if content else []
    blocks = [
        _text(part.text, part.cache_control) if isinstance(part, Text) else _text(part.refusal)
        for part in content
    ]
    return [block for block in blocks if block["text"]]


def _text(text: str, cache_control: Mapping[str, object] | None = None) -> Fields:
    return _cached({"type": "text", "text": text}, cache_control)


def _cached(block: Fields, cache_control: Mapping[str, object] | None) -> Fields:
    if cache_control is not None:
        block["cache_control"] = cache_control
    return block


def _check_nameless(name: str | None, param: str) -> None:
    if name:
        told = "Anthropic knows no names of those who speak: leave `name` out, or write it in the"
        raise Unfit(f"{param}.name", f"{told} text.")
