"""What an edit makes of a dead letter's event, and what a replay makes of it."""

from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline import clock
from pipeline import event as events
from pipeline.errors import BadRequest
from pipeline.event import Event
from pipeline.names import EVENT_FIELD
from pipeline.preferences import FIELD as PREFERENCES
from pipeline.streams import intake
from pipeline.streams.dead.letter import Letter

#: Fields of a producer's event that an edit may set: they end up in the body or the lane.
_EDITABLE: Final = frozenset({"priority", "prompt", "parameters", "system_instruction"})

_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """An edit: a whole new body, single fields of it, or both, the fields last."""

    #: Fields of the body by name; `model` and `priority` are the request's too; None deletes one.
    fields: Mapping[str, object] = {}
    #: JSON; empty: the body stays.
    body: bytes = b""

    @property
    def names(self) -> tuple[str, ...]:
        """Name what is changed."""
        return (*(("body",) if self.body else ()), *self.fields)


def is_unread(event: Event) -> bool:
    """Tell whether an event is that of a malformed entry: its body is the entry's text."""
    return event.has_body and bytes(memoryview(event.body)[:1]) == b'"'


def obstacle(letter: Letter) -> str:
    """Tell why a letter cannot be replayed as it is; empty: it can, if its body is still there."""
    if letter.event is None:
        return f"the letter {letter.entry} cannot be read ({letter.fault}); it can only be purged"
    if not intake.REQUEST_ID.fullmatch(letter.event.id):
        return f"the letter {letter.entry} has no request id of ours; it can only be purged"
    if is_unread(letter.event) or not letter.event.model:
        why = letter.event.failure.message if letter.event.failure else "no request"
        return f"the letter {letter.entry} was malformed ({why}): edit it first"
    return ""


def bodyless(letter: Letter) -> str:
    """Say that a letter's body has gone."""
    return f"the body of the letter {letter.entry} is no longer in Redis: edit it with a new body"


def renewed(event: Event, request_id: str) -> Event:
    """Let an event begin anew, under its own id or another.

    Nobody waits for it any more. Under its own id it goes on with its legs, not its ladder: by
    them late writes of a worker that was stopped in its first life are told apart.
    """
    same = request_id == event.id
    return msgspec.structs.replace(
        event,
        id=request_id,
        replay_of=event.replay_of if same else event.id,
        leg=event.leg + 1 if same else 1,
        created=clock.now(),
        deadline=0.0,
        patient=True,
        status="queued",
        entry="",
        plan=(),
        tried=(),
        climbed=(),
        rungs_skipped=0,
        attempts=0,
        lease=None,
        deltas=0,
        generation=0,
        usage=None,
        finish_reason="",
        failure=None,
        journal=(),
        trace=None,
        undecided=True,
        linked=event.trace.root if event.trace else "",
    )


def changed(event: Event, body: bytes, changes: Changes) -> tuple[Event, bytes]:
    """Apply an edit; gives the event, with its body where that may travel, and the body.

    `body` is the present one, empty where it is lost or not needed. Raises `BadRequest`.
    """
    unread = is_unread(event)
    payload = _payload(event, changes.body or body, unread=unread and not changes.body)
    if not (unread or changes.body) and payload.pop(PREFERENCES, None) is not None:
        # The event has them already.
        payload["model"] = msgspec.Raw(msgspec.json.encode(event.model))
    for name, value in changes.fields.items():
        if not unread and name in intake.OUR_FIELDS - _EDITABLE:
            raise BadRequest(f"`{name}` of a request cannot be changed")
        payload.pop(name, None)
        if value is not None:
            payload[name] = msgspec.Raw(msgspec.json.encode(value))
    if event.model:
        payload.setdefault("model", msgspec.Raw(msgspec.json.encode(event.model)))
    flat = msgspec.json.encode(payload)
    try:
        read = intake.read([EVENT_FIELD.encode(), flat], lane=event.lane, entry=event.id)
    except intake.Malformed as malformed:
        raise BadRequest(f"What the edit makes is no request: {malformed}") from None
    made = _rewritten(event, read) if unread else _updated(event, read, payload)
    whole = bytes(read.body)
    travels = len(whole) <= events.INLINE_BYTES
    return msgspec.structs.replace(made, body=read.body if travels else events.NO_BODY), whole


def _payload(event: Event, body: bytes, *, unread: bool) -> dict[str, msgspec.Raw]:
    """Read the fields of a body, or of the text of an entry that was malformed."""
    try:
        if unread:
            text = msgspec.json.decode(body, type=str).encode()
            if len(text) < event.body_bytes:
                raise BadRequest("Only the beginning of that entry was kept: give the whole body")
            body = text
        return _decode_object(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON object: {error}") from None


def _updated(event: Event, read: Event, payload: Mapping[str, msgspec.Raw]) -> Event:
    return msgspec.structs.replace(
        event,
        operation=read.operation,
        model=read.model,
        body_bytes=read.body_bytes,
        stream=read.stream,
        include_usage=read.include_usage,
        priority=read.priority if "priority" in payload else event.priority,
        prompt_tokens=read.prompt_tokens,
        output_tokens=read.output_tokens,
        sticky=read.sticky,
        needs=read.needs,
    )


def _rewritten(event: Event, read: Event) -> Event:
    """Take a malformed entry for the request that it has become."""
    return msgspec.structs.replace(
        read,
        id=event.id,
        created=event.created,
        reply_to=read.reply_to or event.reply_to,
        entry=event.entry,
        status=event.status,
        failure=event.failure,
        journal=event.journal,
    )
