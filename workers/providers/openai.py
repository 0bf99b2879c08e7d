"""OpenAI's form, which many speak: openai, compatible, ollama, vllm, openrouter, simulated.

Whatever we do not know passes through untouched, both ways. Errors are `verdict`'s.
"""

from functools import lru_cache
from importlib import metadata
from typing import Final

import httpx
import msgspec

from pipeline.errors import Cause, Failure, UpstreamError
from workers.providers import verdict
from workers.providers.assembly import Assembly, Fields, usage_of
from workers.providers.base import Answer, Deltas, ProviderCall, Reply
from workers.providers.sse import EventParser, EventTooLarge

#: Fields of a request that are Sluice's own: no provider sees them.
OWN_FIELDS: Final = frozenset(
    {
        "callback_queue", "priority", "reply_to", "request_id", "retry_count", "session_id",
        "tenant", "timeout_s", "timestamp", "webhook",
    }
)  # fmt: skip

_PATHS: Final = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_USER_AGENT: Final = f"sluice/{metadata.version('sluice')}".encode()
_DONE: Final = b"[DONE]"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_chunk = msgspec.json.Decoder(dict[str, object])
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
                call, "network", f"The provider's address is not valid: {raised}."
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
            raise verdict.error_within(call, answer, answer.body) or _garbage(
                call, answer, "The provider's answer is not an object of the API", answer.body
            ) from raised
        _check_whole(call, answer, whole)
        return Reply(
            response=answer.body.strip(),
            usage=usage_of(whole.usage),
            finish_reason=(whole.choices[0].finish_reason or "") if whole.choices else "",
            model=whole.model or "",
            upstream_id=whole.id or "",
            status=answer.status,
            headers=answer.headers,
        )

    def reader(self, call: ProviderCall, head: Answer) -> "ChatReader":
        """Begin to read a chat stream."""
        return ChatReader(call, head)


class ChatReader:
    """Reads one chat stream; the chunks stay as they came."""

    __slots__ = ("_assembly", "_call", "_count", "_head", "_parser", "failure", "finished")

    def __init__(self, call: ProviderCall, head: Answer) -> None:
        self._call = call
        self._head = head
        self._parser = EventParser()
        self._assembly = Assembly()
        self._count = 0
        self.failure: Failure | None = None
        self.finished = False

    def feed(self, data: bytes) -> Deltas | None:
        """Take the next bytes; give the chunks that they complete."""
        try:
            return self._take(self._parser.feed(data))
        except EventTooLarge as raised:
            self._fail(verdict.failed(self._call, "network", f"The provider sent {raised}."))
            return None

    def end(self) -> Deltas | None:
        """Take the end of the bytes: complete only after `[DONE]` or a finish reason each."""
        deltas = self._take(self._parser.end(), cut=True)
        if self.finished or self.failure:
            return deltas
        if self._assembly.ended:
            self._finish()
        else:
            cause: Cause = "interrupted" if self._count else "network"
            told = f"The provider's stream broke off after {self._count} chunks."
            self._fail(verdict.failed(self._call, cause, told, chunks=self._count))
        return deltas

    def reply(self) -> Reply:
        """Give the whole object as assembled so far."""
        assembly = self._assembly
        return Reply(
            response=assembly.whole(),
            usage=usage_of(assembly.usage),
            finish_reason=assembly.finish_reason,
            model=assembly.head("model"),
            upstream_id=assembly.head("id"),
            status=self._head.status,
            headers=self._head.headers,
        )

    def _take(self, payloads: list[bytes], *, cut: bool = False) -> Deltas | None:
        """Read events' data; a last one that was cut short (`cut`) need not be whole."""
        chunks: list[bytes] = []
        usage_at = -1
        for payload in payloads:
            if self.finished or self.failure:
                break
            chunk = self._read(payload, cut=cut)
            if chunk is None:
                continue
            if not chunk["choices"] and chunk.get("usage"):
                usage_at = len(chunks)
            # A line break can only be JSON's white space; whoever writes the chunk on as an
            # event cannot have it.
            chunks.append(payload.replace(b"\n", b" ") if b"\n" in payload else payload)
        self._count += len(chunks)
        return Deltas(chunks=chunks, usage_at=usage_at) if chunks else None

    def _read(self, payload: bytes, *, cut: bool) -> Fields | None:
        """Read one event's data; None: it is no chunk for anyone to see."""
        try:
            chunk = _chunk.decode(payload)
        except _NOT_JSON:
            if payload.strip() == _DONE:
                self._finish()
            elif payload.strip() and not cut:
                told = "The provider's stream holds what is no chunk"
                self._fail(_garbage(self._call, self._head, told, payload))
            return None
        if chunk.get("error") or not isinstance(chunk.get("choices"), list):
            # A frame without choices breaks the clients' loops, so it stays here.
            self._fail(verdict.error_within(self._call, self._head, payload))
            return None
        self._assembly.add(chunk)
        return chunk

    def _finish(self) -> None:
        self.finished = True
        if self._assembly.empty:
            self._fail(_empty(self._call))

    def _fail(self, error: UpstreamError | None) -> None:
        if error is not None:
            self.failure = error.failure()


def _body(call: ProviderCall) -> bytes:
    try:
        fields = _fields.decode(call.body)
    except _NOT_JSON as raised:
        raise verdict.failed(
            call, "bad_request", f"The request's body is not a JSON object: {raised}."
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
        call, "credentials", "A key or header of this provider holds what no header can."
    )


def _check_whole(call: ProviderCall, answer: Answer, whole: _Whole) -> None:
    if call.operation == "chat":
        there, filled = whole.choices is not None, any(map(_has_come, whole.choices or ()))
    else:
        start = bytes(memoryview(whole.data)[:16])
        there, filled = start.startswith(b"["), start[1:].lstrip()[:1] != b"]"
    if whole.error or not there:
        raise verdict.error_within(call, answer, answer.body) or _garbage(
            call, answer, "The provider's answer holds neither a result nor an error", answer.body
        )
    if not filled:
        raise _empty(call)


def _has_come(choice: _Choice) -> bool:
    if choice.finish_reason:
        return True
    message = msgspec.json.decode(choice.message)
    return isinstance(message, dict) and any(v for k, v in message.items() if k != "role")


def _empty(call: ProviderCall) -> UpstreamError:
    """Make the error of a success with nothing in it, as cold deployments answer."""
    error = verdict.failed(call, "overloaded", "The provider's completion is empty.")
    return UpstreamError(msgspec.structs.replace(error.failure(), code="empty_completion"))


def _garbage(call: ProviderCall, answer: Answer, said: str, body: bytes) -> UpstreamError:
    start = body[:200].decode("utf-8", "replace")
    return verdict.failed(call, "network", f"{said}: {start!r}", provider_status=answer.status)


@lru_cache(maxsize=1024)
def _url(base_url: str, path: str) -> httpx.URL:
    return httpx.URL(base_url.rstrip("/") + path)
