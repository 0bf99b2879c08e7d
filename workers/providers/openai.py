"""OpenAI's form, which many speak: openai, compatible, ollama, vllm, openrouter, simulated.

Whatever we do not know passes through untouched, both ways. What a provider differs in is
`differing`'s; errors are `verdict`'s.
"""

from typing import Final

import httpx
import msgspec

from workers.providers import vectors, verdict
from workers.providers.assembly import counts_nothing, usage_of
from workers.providers.base import Answer, ProviderCall, Reply
from workers.providers.differing import Fields, fit
from workers.providers.learning import seen
from workers.providers.reader import ChatReader, UnaskedReader
from workers.providers.sending import fields_of, post

#: Fields of a request that are Sluice's own: no provider sees them.
OWN_FIELDS: Final = frozenset(
    {
        "callback_queue", "follows", "model_preferences", "priority", "reply_to", "request_id",
        "retry_count", "session_id", "tenant", "timeout_s", "timestamp", "webhook",
    }
)  # fmt: skip

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)

_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")
_WITH_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')


class _Choice(msgspec.Struct, frozen=True):
    message: msgspec.Raw = msgspec.Raw(b"{}")
    finish_reason: str | None = None


class _Whole(msgspec.Struct, frozen=True):
    """As much of a whole object as has to be known."""

    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    usage: dict[str, object] | None = None
    error: object = None


_whole = msgspec.json.Decoder(_Whole)


class OpenAI:
    """The translation of those who speak OpenAI's form: next to none."""

    def request(self, call: ProviderCall) -> httpx.Request:
        """Build the request: the client's body with the upstream's model and our streaming."""
        differs = call.differs
        path = differs.chat_path if call.operation == "chat" else differs.embeddings_path
        key = ((differs.key_header, differs.key_prefix + call.key),) if call.key else ()
        return post(call, path, body_of(call), key)

    def reply(self, call: ProviderCall, answer: Answer) -> Reply:
        """Read a whole answer; its body stays as it came."""
        try:
            whole = _whole.decode(answer.body)
        except _NOT_JSON as raised:
            raise verdict.error_within(call, answer, answer.body) or verdict.garbage(
                call, answer, "The provider's answer is not an object of the API", answer.body
            ) from raised
        _check_whole(call, answer, whole)
        body = answer.body
        if call.operation == "embeddings":
            body = vectors.checked(call, answer, whole.data)
        usage = usage_of(whole.usage)
        return Reply(
            response=body.strip(),
            usage=usage,
            finish_reason=(whole.choices[0].finish_reason or "") if whole.choices else "",
            model=whole.model or "",
            upstream_id=whole.id or "",
            status=answer.status,
            headers=answer.headers,
            empty=counts_nothing(usage)
            and not _any_says(whole.choices or [])
            and call.operation == "chat",
            seen=seen(call.kind, answer.headers),
        )

    def reader(self, call: ProviderCall, head: Answer) -> ChatReader:
        """Begin to read a chat stream."""
        return (ChatReader if call.differs.include_usage else UnaskedReader)(call, head)


def body_of(call: ProviderCall) -> bytes:
    """Write the provider's body; raises `UpstreamError` where the client's cannot be said."""
    fields = fields_of(call)
    for name in OWN_FIELDS.intersection(fields):
        del fields[name]
    fit(call, fields)
    fields["model"] = msgspec.Raw(_encode(call.model))
    if call.operation == "embeddings":
        fields.pop("stream", None)
        fields.pop("stream_options", None)
        if not call.differs.base64:
            fields.pop("encoding_format", None)
    elif call.stream:
        fields["stream"] = _TRUE
        _ask_for_usage(call, fields)
    else:
        fields["stream"] = _FALSE
        fields.pop("stream_options", None)
    return _encode(fields)


def _ask_for_usage(call: ProviderCall, fields: Fields) -> None:
    if call.differs.include_usage:
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    else:
        fields.pop("stream_options", None)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """Ask for usage beside what the client asked of its stream."""
    if options is None:
        return _WITH_USAGE
    try:
        fields = _fields.decode(options)
    except msgspec.ValidationError:
        return _WITH_USAGE
    return msgspec.Raw(_encode({**fields, "include_usage": _TRUE}))


def _check_whole(call: ProviderCall, answer: Answer, whole: _Whole) -> None:
    if call.operation == "chat":
        there, choices = whole.choices is not None, whole.choices or []
        filled = any(choice.finish_reason for choice in choices) or _any_says(choices)
    else:
        start = bytes(memoryview(whole.data)[:16])
        there, filled = start.startswith(b"["), start[1:].lstrip()[:1] != b"]"
    if whole.error or not there:
        raise verdict.error_within(call, answer, answer.body) or verdict.garbage(
            call, answer, "The provider's answer holds neither a result nor an error", answer.body
        )
    if not filled:
        raise verdict.empty(call, answer)
    if call.fails_withheld and _is_withheld(whole.choices or []):
        raise verdict.withheld(call, answer)


def _is_withheld(choices: list[_Choice]) -> bool:
    """Tell whether the provider's filter kept all back but, maybe, that it refuses."""
    filtered = bool(choices) and choices[0].finish_reason == "content_filter"
    return filtered and not _any_says(choices, ("role", "refusal"))


def _any_says(choices: list[_Choice], without: tuple[str, ...] = ("role",)) -> bool:
    messages = [msgspec.json.decode(choice.message) for choice in choices]
    return any(
        value
        for message in messages
        if isinstance(message, dict)
        for name, value in message.items()
        if name not in without
    )
