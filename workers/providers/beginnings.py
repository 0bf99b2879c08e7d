"""Which providers go on from the beginning of an answer, and how they are asked to."""

from typing import Final

import msgspec

from pipeline.settings.differences import Differences, Prefix
from workers.providers.anthropic.models import takes_beginning

#: https://github.com/ollama/ollama/issues/6778
_LAST_MESSAGE_KINDS: Final = ("ollama",)

_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_messages: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_encode: Final = msgspec.json.Encoder().encode
_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")
_ASSISTANT: Final = msgspec.Raw(b'"assistant"')
#: What an answer may have at the most, by the names of OpenAI's form.
_BOUNDS: Final = ("max_tokens", "max_completion_tokens")

Fields = dict[str, msgspec.Raw]


def continues(kind: str, model: str, differs: Differences) -> Prefix:
    """Tell how a provider's model goes on from an answer's beginning; `none`: it begins anew."""
    if kind == "anthropic" and not takes_beginning(model):
        return "none"
    return "last_message" if kind in _LAST_MESSAGE_KINDS else differs.prefix


def unseen_end(kind: str, text: str) -> str:
    """Give the white space that a beginning ends with, where the provider does not see it.

    It may say it again then. https://platform.claude.com/docs/en/api/errors
    """
    return text[len(text.rstrip()) :] if kind == "anthropic" else ""


def with_beginning(body: bytes, text: str, form: Prefix, said_tokens: int) -> bytes:
    """Put the beginning of its answer into a request that has been answered so far.

    What the answer may have at the most is less by what has been said. Raises
    `msgspec.MsgspecError` for a body that is no chat request.
    """
    fields = _fields(body)
    messages = _messages(fields["messages"])
    messages.append(_last(messages, text))
    if form == "prefix":
        messages[-1]["prefix"] = _TRUE
    if form == "continue_final_message":
        fields["continue_final_message"] = _TRUE
        fields["add_generation_prompt"] = _FALSE
    fields["messages"] = msgspec.Raw(_encode(messages))
    for name in _BOUNDS:
        most = msgspec.json.decode(fields[name]) if name in fields else None
        if isinstance(most, int):
            fields[name] = msgspec.Raw(_encode(max(1, most - said_tokens)))
    return _encode(fields)


def wants_one(body: bytes) -> bool:
    """Tell whether a chat request asks for one answer."""
    asked = _fields(body).get("n")
    return asked is None or msgspec.json.decode(asked) in (None, 1)


def _last(messages: list[Fields], text: str) -> Fields:
    """Give the message to go on from; the client's own beginning goes before the answer's."""
    if messages and bytes(messages[-1].get("role", b"")) == bytes(_ASSISTANT):
        given = msgspec.json.decode(messages[-1].get("content", b"null"))
        if isinstance(given, str):
            return {**messages.pop(), "content": msgspec.Raw(_encode(given + text))}
    return {"role": _ASSISTANT, "content": msgspec.Raw(_encode(text))}
