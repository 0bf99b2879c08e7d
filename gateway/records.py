"""A request's record in Redis, read for clients: its state, its result and its journal."""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.errors import ErrorBody, error_body
from gateway.waiting import Spot
from pipeline import clock
from pipeline.errors import Failure, RequestNotFound
from pipeline.event import ENDED, Usage
from pipeline.flow import BY_NAME, CALL, GATE, RESPOND, ROUTE

Record = Mapping[str, bytes]

#: Where an event goes after each hop, unless its status tells otherwise.
_NEXT: Final[Mapping[str, str]] = {"": ROUTE, ROUTE: GATE, GATE: CALL, CALL: RESPOND}
_WAITING_ROOM: Final = "waiting room"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request that was answered."""

    content: str
    finish_reason: str | None
    usage: Usage | None
    #: The provider's whole response; null where only its deltas were kept.
    response: msgspec.Raw | None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A request's state, as `GET /chat/{task_id}` tells it (WIRE.md 12)."""

    task_id: str
    session_id: str | None
    status: str
    model: str
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    attempts: int
    position: int | None
    eta_s: float | None
    result: Result | None
    error: ErrorBody | None
    trace_id: str | None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    """What we read of a chunk or a response of OpenAI's form; others read as empty."""

    choices: list[_Choice] | None = None
    usage: Usage | None = None


_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_failure: Final = msgspec.json.Decoder(Failure).decode
_decode_usage: Final = msgspec.json.Decoder(Usage).decode


def content_of(lines: bytes) -> str:
    """Join the content of the first choice in chunks, one a line."""
    parts = []
    for line in lines.split(b"\n"):
        choice = _first(line)
        if choice and choice.delta and choice.delta.content:
            parts.append(choice.delta.content)
    return "".join(parts)


def tenant_of(record: Record) -> str:
    """Name the tenant whose request it is."""
    return record.get("tenant", b"").decode()


def not_found(request_id: str) -> RequestNotFound:
    """Say that there is no such request, or none that this caller may see."""
    shown = request_id if len(request_id) <= 128 else f"{request_id[:128]}…"
    return RequestNotFound(f"No request has the id `{shown}`, or it is past its retention.")


def task(request_id: str, record: Record, *, deltas: bytes = b"", spot: Spot | None = None) -> Task:
    """Tell a request's state; `deltas` are its chunks, for an answer that was not kept whole.

    `spot` is its place in the waiting room.
    """
    status = record.get("status", b"queued").decode()
    failure = record.get("failure")
    return Task(
        task_id=request_id,
        session_id=_text(record, "session"),
        status=status,
        model=record.get("model", b"").decode(),
        created_at=_time(record, "created"),
        started_at=_time(record, "started"),
        finished_at=_time(record, "finished"),
        attempts=int(record.get("attempts", b"0")),
        position=spot.position if spot else None,
        eta_s=spot.eta_s if spot else None,
        result=_result(record, deltas) if status == "completed" else None,
        error=error_body(_decode_failure(failure), request_id) if failure else None,
        trace_id=_text(record, "trace_id"),
    )


def journal(record: Record) -> list[msgspec.Raw]:
    """Give the lines that the hops have written, in order."""
    places = sorted(int(name) for name in record if name.isdigit())
    return [msgspec.Raw(record[str(place)]) for place in places]


def whereabouts(record: Record) -> str:
    """Name the hop that a request is at or on its way to, or how it has ended."""
    status = record.get("status", b"queued").decode()
    if status in ENDED:
        return status
    if status == "waiting":
        return _WAITING_ROOM
    if status == "retrying":
        return GATE
    lines = journal(record)
    last = msgspec.json.decode(lines[-1], type=_Line).hop if lines else ""
    return _NEXT.get(last, last if last in BY_NAME else ROUTE)


class _Line(msgspec.Struct):
    hop: str


def _result(record: Record, deltas: bytes) -> Result:
    response = record.get("response")
    whole = _first(response) if response else None
    content = (whole.message.content if whole and whole.message else "") or content_of(deltas)
    finish_reason = _text(record, "finish_reason") or (whole.finish_reason if whole else None)
    usage = record.get("usage")
    return Result(
        content=content,
        finish_reason=finish_reason,
        usage=_decode_usage(usage) if usage else None,
        response=msgspec.Raw(response) if response else None,
    )


def _first(answer: bytes) -> _Choice | None:
    try:
        choices = _decode_answer(answer).choices
    except msgspec.MsgspecError:
        return None
    return next((choice for choice in choices or () if choice.index == 0), None)


def _text(record: Record, name: str) -> str | None:
    return record[name].decode() if record.get(name) else None


def _time(record: Record, name: str) -> str | None:
    return clock.rfc3339(float(record[name])) if record.get(name) else None
