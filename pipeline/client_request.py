"""What a program asks for, read into the event and the body that go into the pipeline."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypedDict

import msgspec
from msgspec import Meta

from pipeline import clock
from pipeline.errors import BadRequest
from pipeline.event import NO_BODY, Event
from pipeline.limits.estimate import of_chat, of_embeddings
from pipeline.names import MAX_PRIORITY, MIN_PRIORITY
from pipeline.needs import Asks, cache_key_of, needs_of
from pipeline.preferences import ModelPreferences, preferring
from pipeline.streams.intake import MAX_TIMEOUT_S, MAX_USER_CHARACTERS, REQUEST_ID
from pipeline.streams.once import Once, digest

#: A JSON body, as an object or as it is sent.
Body = Mapping[str, object] | bytes

_Id = Annotated[str, Meta(pattern=rf"\A{REQUEST_ID.pattern}\Z")]
_Session = Annotated[str, Meta(pattern=r"\A(?:[A-Za-z0-9._:-]{1,128})?\Z")]
_Traceparent = Annotated[str, Meta(pattern=r"\A(?:00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?\Z")]
_Followed = Annotated[str, Meta(pattern=rf"\A(?:{REQUEST_ID.pattern})?\Z")]
_Timeout = Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)]


class Wishes(TypedDict, total=False):
    """What may be said of a request beside its body; all of it may be left out.

    The provider gets `messages` (or `prompt` for a single one of the user's), `model`,
    `parameters` (`max_tokens`, `temperature`, `tools` …) and `stream`, each in place of the
    body's own. All else is for the pipeline alone.
    """

    messages: Sequence[Mapping[str, object]]
    prompt: str
    model: str
    parameters: Mapping[str, object]
    stream: bool
    #: 1 to 128 letters, digits and . _ -; asked twice, it is answered once. Absent: a new one.
    request_id: _Id | None
    #: The same key within a tenant means the same request: the first one's answer is given.
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None
    #: From -10 to 10; above 0 goes before 0, below it behind.
    priority: Annotated[int, Meta(ge=MIN_PRIORITY, le=MAX_PRIORITY)]
    #: `submit`: seconds after which the request ends unanswered. `ask`, `stream`: seconds that
    #: are waited for it. Absent: as long as it takes.
    timeout_s: _Timeout | None
    #: Whether it may climb the ladder of retries, for up to a day, rather than fail soon.
    patient: bool
    tenant: str
    #: Absent: what the body says by `safety_identifier` or `user`.
    user: Annotated[str, Meta(max_length=MAX_USER_CHARACTERS)]
    #: Requests of one session are turns in one stream of replies.
    session_id: _Session
    #: A stream that is to get the result, and what is to be echoed there.
    reply_to: str
    metadata: Mapping[str, object] | None
    #: The trace context (W3C) that the request belongs to.
    traceparent: _Traceparent
    tracestate: Annotated[str, Meta(max_length=512)]
    #: What models its work needs, and how often it calls them.
    model_preferences: ModelPreferences | None
    #: The request of whose companion this is a call: it was paid for with that one.
    follows: _Followed


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is to be accepted."""

    event: Event
    body: bytes
    #: What it is known by, where a key was given.
    once: Once | None
    #: Whether its id was given, and may have been accepted before.
    is_named: bool


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Read(Asks, frozen=True, kw_only=True):
    """What we read of a body; everything else is the provider's to judge."""

    model: str = ""
    input: msgspec.Raw = NO_BODY
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    safety_identifier: str | None = None
    model_preferences: ModelPreferences | None = None
    follows: _Followed | None = None


_WISHES: Final = frozenset(Wishes.__annotations__)
_decode_read: Final = msgspec.json.Decoder(_Read).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def request_of(
    body: Body | None, wishes: Wishes, default_model: str, default_embedding_model: str = ""
) -> Request:
    """Read a request; embeddings without a usual model of their own have that of all.

    Raises `BadRequest`, and `TypeError` for what is no wish at all.
    """
    unknown = wishes.keys() - _WISHES
    if unknown:
        raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
    try:
        wished = msgspec.convert(wishes, Wishes)
        whole = _whole(body, wished, default_model, default_embedding_model or default_model)
        read = _decode_read(whole)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The request is not valid: {error}.") from None
    if (read.messages is NO_BODY) == (read.input is NO_BODY):
        raise BadRequest("One of 'messages', 'prompt' and the body's 'input' is needed.")
    event = preferring(_event(wished, read, whole), read.model_preferences)
    return Request(
        event=event,
        body=whole,
        once=_once(wished.get("idempotency_key") or "", event, whole),
        is_named=bool(wished.get("request_id")),
    )


def _whole(
    body: Body | None, wished: Wishes, default_model: str, default_embedding_model: str
) -> bytes:
    """Write the body that goes to the provider; one that lacks nothing stays as it came."""
    given = dict(body) if isinstance(body, Mapping) else _fields(body or b"{}")
    changes: dict[str, object] = dict(wished.get("parameters", {}))
    for name in ("messages", "model", "stream", "model_preferences", "follows"):
        if name in wished:
            changes[name] = wished[name]
    if "prompt" in wished:
        if "messages" in changes or "messages" in given:
            raise BadRequest("'prompt' and 'messages' are two ways to say the same; give one.")
        changes["messages"] = [{"role": "user", "content": wished["prompt"]}]
    if "model" not in changes and "model" not in given:
        embeds = "input" in given and "messages" not in given.keys() | changes.keys()
        changes["model"] = default_embedding_model if embeds else default_model
    if isinstance(body, bytes) and not changes:
        return body
    return msgspec.json.encode({**given, **changes})


def _once(key: str, event: Event, body: bytes) -> Once | None:
    if not key:
        return None
    way = b"client:" + event.operation.encode()
    return Once(
        key=digest(b"key", event.tenant.encode(), way, key.encode()),
        fingerprint=digest(way, body),
        on_duplicate="attach",
    )


def _fields(body: bytes) -> dict[str, object]:
    # The decoder does not look into the text of fields that it leaves as they are.
    body.decode()
    return dict(_decode_fields(body))


def _event(wished: Wishes, read: _Read, body: bytes) -> Event:
    embeds = read.messages is NO_BODY
    size = of_embeddings(body, read.input) if embeds else of_chat(body, read)
    user = wished.get("user") or read.safety_identifier or read.user or ""
    if len(user) > MAX_USER_CHARACTERS:
        raise BadRequest(f"'user' has {len(user)} characters; {MAX_USER_CHARACTERS} are the most.")
    timeout_s, metadata, now = wished.get("timeout_s"), wished.get("metadata"), clock.now()
    return Event(
        id=wished.get("request_id") or clock.new_id(),
        operation="embeddings" if embeds else "chat",
        model=read.model,
        body_bytes=len(body),
        stream=bool(read.stream) and not embeds,
        include_usage=bool(read.stream_options and read.stream_options.include_usage),
        priority=wished.get("priority", 0),
        created=now,
        patient=wished.get("patient", True),
        deadline=now + timeout_s if timeout_s else 0.0,
        tenant=wished.get("tenant", ""),
        user=user,
        prompt_tokens=size.prompt_tokens,
        output_tokens=size.output_tokens,
        session=wished.get("session_id", ""),
        sticky="" if embeds else cache_key_of(read),
        needs=() if embeds else needs_of(read),
        follows=read.follows or "",
        reply_to=wished.get("reply_to", ""),
        metadata=msgspec.Raw(msgspec.json.encode(metadata)) if metadata else NO_BODY,
        traceparent=wished.get("traceparent", ""),
        tracestate=wished.get("tracestate", ""),
        undecided=True,
    )
