"""OpenAI's form, which many speak: openai, compatible, ollama, vllm, openrouter, simulated.

Whatever we do not know passes through untouched, both ways. Errors are `verdict`'s.
"""

from functools import lru_cache
from importlib import metadata
from typing import Final

import httpx
import msgspec

from workers.providers import verdict
from workers.providers.assembly import counts_nothing, usage_of
from workers.providers.base import Answer, ProviderCall, Reply
from workers.providers.learning import seen
from workers.providers.reader import ChatReader

#: Fields of a request that are Sluice's own: no provider sees them.
OWN_FIELDS: Final = frozenset(
    {
        "callback_queue", "priority", "reply_to", "request_id", "retry_count", "session_id",
        "tenant", "timeout_s", "timestamp", "webhook",
    }
)  # fmt: skip

_PATHS: Final = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_USER_AGENT: Final = f"sluice/{metadata.version('sluice')}".encode()

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
        try:
            url = _url(call.base_url, _PATHS[call.operation])
        except httpx.InvalidURL as raised:
            raise verdict.failed(
                call, "network", f"The provider's address is not valid: {raised}.", sent=False
            ) from raised
        return httpx.Request(
            "POST",
            url,
            headers=_headers(call),
            stream=httpx.ByteStream(_body(call)),
            extensions={
                "timeout": {"connect": call.timeout.connect_s},
                "proxy": call.proxy,
            },
        )

    def reply(self, call: ProviderCall, answer: Answer) -> Reply:
        """Read a whole answer; its body stays as it came."""
        try:
            whole = _whole.decode(answer.body)
        except _NOT_JSON as raised:
            raise verdict.error_within(call, answer, answer.body) or verdict.garbage(
                call, answer, "The provider's answer is not an object of the API", answer.body
            ) from raised
        _check_whole(call, answer, whole)
        usage = usage_of(whole.usage)
        return Reply(
            response=answer.body.strip(),
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
        return ChatReader(call, head)


def _body(call: ProviderCall) -> bytes:
    try:
        fields = _fields.decode(call.body)
    except _NOT_JSON as raised:
        raise verdict.failed(
            call, "bad_request", f"The request's body is not a JSON object: {raised}.", sent=False
        ) from raised
    for name in OWN_FIELDS.intersection(fields):
        del fields[name]
    fields["model"] = msgspec.Raw(_encode(call.model))
    if call.stream:
        fields["stream"] = _TRUE
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    else:
        fields.pop("stream_options", None)
        if call.operation == "chat":
            fields["stream"] = _FALSE
        else:
            fields.pop("stream", None)
    return _encode(fields)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """Ask for usage beside what the client asked of its stream."""
    if options is None:
        return _WITH_USAGE
    try:
        fields = _fields.decode(options)
    except msgspec.ValidationError:
        return _WITH_USAGE
    return msgspec.Raw(_encode({**fields, "include_usage": _TRUE}))


def _headers(call: ProviderCall) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"text/event-stream" if call.stream else b"application/json"),
        # Decoding costs more than these short bodies save, and holds back a stream's deltas.
        (b"accept-encoding", b"identity"),
        (b"user-agent", _USER_AGENT),
        (b"x-client-request-id", call.request_id.encode()),
    ]
    if call.key:
        headers.append((b"authorization", f"Bearer {_presentable(call, call.key)}".encode()))
    if call.headers:
        ours = {name.lower(): _presentable(call, text) for name, text in call.headers}
        headers = [(name, text) for name, text in headers if name.decode() not in ours]
        headers += [(name.encode(), text.encode()) for name, text in ours.items()]
    return headers


def _presentable(call: ProviderCall, secret: str) -> str:
    if secret.isascii() and secret.isprintable():
        return secret
    raise verdict.failed(
        call,
        "credentials",
        "A key or header of this provider holds what no header can.",
        sent=False,
    )


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


def _any_says(choices: list[_Choice]) -> bool:
    messages = [msgspec.json.decode(choice.message) for choice in choices]
    return any(
        value
        for message in messages
        if isinstance(message, dict)
        for name, value in message.items()
        if name != "role"
    )


@lru_cache(maxsize=1024)
def _url(base_url: str, path: str) -> httpx.URL:
    return httpx.URL(base_url.rstrip("/") + path)
