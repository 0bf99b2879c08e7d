"""Reading stream entries into events: our own, and what direct producers write.

A producer needs nothing of ours: its event is an OpenAI body, flat, or a `prompt` with
`parameters`. Whatever cannot be read becomes an event that can be dead-lettered with its reason,
and whose callback, if it named one, can be told.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline import clock, tracing
from pipeline import event as events
from pipeline.errors import BadRequest, Failure, SluiceError
from pipeline.event import Event
from pipeline.limits.estimate import of_chat, of_embeddings
from pipeline.names import EVENT_FIELD, MAX_PRIORITY, MIN_PRIORITY, Lane
from pipeline.needs import asks_of, cache_key_of, needs_of
from pipeline.preferences import ModelPreferences, preferred

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

#: What a request has for a priority when only its stream tells it.
LANE_PRIORITY: Final[Mapping[Lane, int]] = {"high": 10, "default": 0, "low": -10}

#: How much of an entry that cannot be read is kept in its dead letter, in bytes.
KEPT_BYTES: Final = 65536

_OURS: Final = b'{"v":1,'
_FIELD: Final = EVENT_FIELD.encode()
_CANCELLED: Final = b"cancelled"
#: How often an entry was appended anew because its group was lost.
_AGAIN: Final = b"again"

#: One year: a longer timeout would overflow a deadline somewhere.
MAX_TIMEOUT_S: Final = 31_536_000

#: More than any ladder has rungs.
MAX_RETRY_COUNT: Final = 1000

#: Users are told apart in Redis by names that clients choose.
MAX_USER_CHARACTERS: Final = 256

#: Fields of a producer's event that are for us and not for the provider.
OUR_FIELDS: Final = frozenset(
    {
        "request_id", "reply_to", "callback_queue", "priority", "timeout_s", "tenant",
        "session_id", "webhook", "timestamp", "retry_count", "prompt", "parameters",
        "system_instruction", "traceparent", "tracestate", "model_preferences", "follows",
    }
)  # fmt: skip

#: Names of parameters that a producer may use, and OpenAI's names for them.
PARAMETERS: Final[Mapping[str, str]] = {"max_output_tokens": "max_tokens"}


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Request(msgspec.Struct, kw_only=True):
    """What we read of a producer's event; everything else passes through."""

    request_id: str | None = None
    model: str | None = None
    messages: msgspec.Raw = events.NO_BODY
    input: msgspec.Raw = events.NO_BODY
    prompt: str | None = None
    system_instruction: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    reply_to: str | None = None
    callback_queue: str | None = None
    priority: int | None = None
    timeout_s: float | None = None
    tenant: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    session_id: str | None = None
    metadata: msgspec.Raw = events.NO_BODY
    traceparent: str | None = None
    tracestate: str | None = None
    retry_count: int | None = None
    model_preferences: ModelPreferences | None = None
    follows: str | None = None


class Malformed(Exception):
    """An entry that is no request; carries the event with which it is dead-lettered."""

    def __init__(self, event: Event, failure: Failure) -> None:
        super().__init__(failure.message)
        self.event = event
        self.failure = failure


def read(fields: list[bytes], *, lane: Lane | None, entry: str, default_model: str = "") -> Event:
    """Read a stream entry, given as Redis gives it: names and values in turn.

    `lane` tells that it came by a request stream, where producers write, too.
    Raises `Malformed`.
    """
    payload = _value(fields, _FIELD)
    minted = f"xadd-{lane}-{entry}" if lane else f"lost-{entry}"
    if payload is None:
        raise _malformed(minted, b"", f"the entry has no field `{EVENT_FIELD}`")
    try:
        if lane is None:
            return _marked(events.decode(payload), fields)
        if payload.startswith(_OURS):
            return events.decode(payload)
        event = _from_producer(payload, lane, minted, default_model)
    except msgspec.MsgspecError as error:
        raise _malformed(minted, payload, f"`{EVENT_FIELD}` is not a request: {error}") from None
    except UnicodeDecodeError:
        raise _malformed(minted, payload, f"`{EVENT_FIELD}` is not UTF-8") from None
    except SluiceError as error:
        raise _malformed(minted, payload, error.message) from None
    except RecursionError:
        raise _malformed(minted, payload, f"`{EVENT_FIELD}` is nested too deeply") from None
    return _traced(event, fields)


def _value(fields: list[bytes], wanted: bytes) -> bytes | None:
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name == wanted:
            return value
    return None


def _marked(event: Event, fields: list[bytes]) -> Event:
    """See whether an event was cancelled on its way, or comes once more."""
    if len(fields) == 2:
        return event
    again = int(_value(fields, _AGAIN) or 0)
    is_cancelled = _value(fields, _CANCELLED) is not None
    return msgspec.structs.replace(event, cancelled=is_cancelled, delivery=1 + again)


def _traced(event: Event, fields: list[bytes]) -> Event:
    """Keep the trace context that stands in a producer's entry; else that in its event counts."""
    told = (event.traceparent, event.tracestate)
    if (traceparent := _value(fields, b"traceparent")) is not None:
        state = _value(fields, b"tracestate") or b""
        told = (traceparent.decode("latin-1"), state.decode("latin-1"))
    caller = tracing.caller_of(*told)
    return msgspec.structs.replace(
        event, traceparent=caller.traceparent, tracestate=caller.tracestate
    )


def _from_producer(payload: bytes, lane: Lane, minted: str, default_model: str) -> Event:
    payload.decode()
    request = msgspec.json.decode(payload, type=_Request)
    request_id = minted if request.request_id is None else request.request_id
    if not REQUEST_ID.fullmatch(request_id):
        raise BadRequest("`request_id` must match [A-Za-z0-9._-]{1,128}")
    embeds = _given(request.input) and not _given(request.messages)
    wanted = preferred(request.model_preferences, "embeddings" if embeds else "chat")
    model = wanted.model or request.model or default_model
    if not model:
        raise BadRequest("`model` is missing and no default_model is configured")
    priority = LANE_PRIORITY[lane] if request.priority is None else request.priority
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise BadRequest(f"`priority` is {priority}; it goes from -10 to 10")
    timeout_s = request.timeout_s or 0.0
    if not 0 <= timeout_s <= MAX_TIMEOUT_S:
        raise BadRequest(f"`timeout_s` is {timeout_s:g}; it goes from 0 (none) to {MAX_TIMEOUT_S}")
    now = clock.now()
    body = _body(payload, request, model)
    asks = asks_of(body)
    size = of_embeddings(body, request.input) if embeds else of_chat(body, asks)
    return Event(
        id=request_id,
        operation="embeddings" if embeds else "chat",
        model=model,
        body=msgspec.Raw(body),
        body_bytes=len(body),
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        priority=priority,
        created=now,
        deadline=now + timeout_s if timeout_s else 0.0,
        tenant=request.tenant or "",
        user=_user(request),
        prompt_tokens=size.prompt_tokens,
        output_tokens=size.output_tokens,
        session=request.session_id or "",
        sticky="" if embeds else cache_key_of(asks),
        needs=() if embeds else needs_of(asks),
        calls=wanted.calls,
        also=wanted.also,
        follows=_followed(request.follows or ""),
        reply_to=request.reply_to or request.callback_queue or "",
        metadata=request.metadata,
        traceparent=request.traceparent or "",
        tracestate=request.tracestate or "",
        undecided=True,
        rungs_skipped=_skipped(request.retry_count or 0),
        direct=True,
    )


def _followed(request_id: str) -> str:
    if request_id and not REQUEST_ID.fullmatch(request_id):
        raise BadRequest("`follows` must match [A-Za-z0-9._-]{1,128}: it is a request's id")
    return request_id


def _skipped(retry_count: int) -> int:
    if not 0 <= retry_count <= MAX_RETRY_COUNT:
        raise BadRequest(f"`retry_count` is {retry_count}; it goes from 0 to {MAX_RETRY_COUNT}")
    return retry_count


def _user(request: _Request) -> str:
    user = request.safety_identifier or request.user or ""
    if len(user) > MAX_USER_CHARACTERS:
        raise BadRequest(f"`user` has {len(user)} characters; {MAX_USER_CHARACTERS} are the most")
    return user


def _body(payload: bytes, request: _Request, model: str) -> bytes:
    given = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    body = {name: value for name, value in given.items() if name not in OUR_FIELDS}
    body["model"] = msgspec.Raw(msgspec.json.encode(model))
    if not _given(request.messages) and not _given(request.input):
        if request.prompt is None:
            raise BadRequest("one of `messages`, `prompt` and `input` is needed")
        body["messages"] = msgspec.Raw(msgspec.json.encode(_messages(request)))
    for name, value in (request.parameters or {}).items():
        body.setdefault(PARAMETERS.get(name, name), value)
    return msgspec.json.encode(body)


def _messages(request: _Request) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": request.prompt or ""}]
    if request.system_instruction:
        messages.insert(0, {"role": "system", "content": request.system_instruction})
    return messages


def _given(value: msgspec.Raw) -> bool:
    return len(memoryview(value)) > 0


class _Addressed(msgspec.Struct):
    reply_to: object = None
    callback_queue: object = None


def _callback_of(payload: bytes) -> str:
    """Give the callback that a payload names, if so much of it can be read."""
    try:
        addressed = msgspec.json.decode(payload, type=_Addressed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    named = (addressed.reply_to, addressed.callback_queue)
    return next((name for name in named if name and isinstance(name, str)), "")


def _malformed(request_id: str, payload: bytes, reason: str) -> Malformed:
    """Keep what can be kept of an entry that cannot be read."""
    text = payload[:KEPT_BYTES].decode(errors="replace")
    event = Event(
        id=request_id,
        model="",
        body=msgspec.Raw(msgspec.json.encode(text)),
        body_bytes=len(payload),
        created=clock.now(),
        reply_to=_callback_of(payload),
        direct=True,
        undecided=True,
    )
    failure = Failure(
        message=reason,
        type="invalid_request_error",
        code="malformed_event",
        status=400,
        cause="malformed",
    )
    return Malformed(event, failure)
