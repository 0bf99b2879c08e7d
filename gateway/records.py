"""A request's record in Redis, read for clients: its state, its result and its journal."""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.errors import ErrorBody, error_body
from gateway.waiting import Spot
from pipeline import clock
from pipeline.content import content_of, first_choice
from pipeline.errors import Failure, RequestNotFound
from pipeline.event import ENDED, Line, Usage
from pipeline.flow import BY_NAME, CALL, GATE, RESPOND, ROUTE

Record = Mapping[str, bytes]

#: Where an event goes after each hop, unless its status tells otherwise.
_NEXT: Final[Mapping[str, str]] = {"": ROUTE, ROUTE: GATE, GATE: CALL, CALL: RESPOND}
_WAITING_ROOM: Final = "waiting room"
_LADDER: Final = "ladder"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request that was answered."""

    content: str
    finish_reason: str | None
    usage: Usage | None
    #: The provider's whole response; null where only its deltas were kept.
    response: msgspec.Raw | None


class LastFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why the latest call of a request that goes on has failed."""

    cause: str
    #: HTTP status.
    status: int
    message: str
    deployment: str


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request's state, as `GET /chat/{task_id}` tells it (WIRE.md 12).

    What has a default is told only where there is something to tell.
    """

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
    #: Of its present leg, where it is traced.
    trace_id: str | None
    #: Where that is shown.
    trace_url: str = ""
    #: `ladder`, with the seconds of its rung, while it waits there to be retried.
    at: str = ""
    rung: int = 0
    retry_at: str = ""
    last_failure: LastFailure | None = None
    #: Journeys between two rungs of the ladder; the first is 1.
    leg: int = 0
    replay_of: str = ""
    replayed_as: str = ""
    #: US dollars of all its calls, as far as prices are known.
    cost: float | None = None
    #: Whether it is to be cancelled and has not ended yet.
    cancelling: bool = False


_decode_failure: Final = msgspec.json.Decoder(Failure).decode
_decode_usage: Final = msgspec.json.Decoder(Usage).decode
_decode_line: Final = msgspec.json.Decoder(Line).decode


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
    ended = status in ENDED
    lines = [] if ended else [_decode_line(line) for line in journal(record)]
    rung = _rung(record)
    due = float(record.get("due", b"0")) if rung else 0.0
    return Task(
        task_id=request_id,
        session_id=_text(record, "session"),
        status=status,
        model=record.get("model", b"").decode(),
        created_at=_time(record, "created"),
        started_at=_time(record, "started"),
        finished_at=_time(record, "finished"),
        attempts=int(record.get("attempts", b"0")) or _attempts(lines),
        position=spot.position if spot else None,
        eta_s=_eta_s(due) if rung else spot.eta_s if spot else None,
        result=_result(record, deltas) if status == "completed" else None,
        error=error_body(_decode_failure(failure), request_id) if failure else None,
        trace_id=_text(record, "trace_id"),
        at=_LADDER if rung else "",
        rung=rung,
        retry_at=clock.rfc3339(due) if rung else "",
        last_failure=_last_failure(lines),
        leg=int(record.get("leg", b"0")),
        cost=float(record["cost"]) if "cost" in record else None,
        replay_of=_text(record, "replay_of") or "",
        replayed_as=_text(record, "replayed_as") or "",
        cancelling="cancel" in record and not ended,
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
        return _LADDER if _rung(record) else GATE
    lines = journal(record)
    last = msgspec.json.decode(lines[-1], type=_Hop).hop if lines else ""
    return _NEXT.get(last, last if last in BY_NAME else ROUTE)


class _Hop(msgspec.Struct):
    hop: str


def _rung(record: Record) -> int:
    """Give the seconds of the rung that a request waits on; 0: none."""
    return int(record.get("rung", b"0")) if record.get("status") == b"retrying" else 0


def _eta_s(due: float) -> float:
    return round(max(0.0, due - clock.now()), 3)


def _attempts(lines: list[Line]) -> int:
    """Count the calls of a request that goes on; its record tells them at its end."""
    return sum(line.hop == CALL and "call_ms" in line.facts for line in lines)


def _last_failure(lines: list[Line]) -> LastFailure | None:
    failed = next((line.facts for line in reversed(lines) if "cause" in line.facts), None)
    if failed is None:
        return None
    return LastFailure(
        cause=str(failed["cause"]),
        status=int(failed.get("status", 0)),
        message=str(failed.get("error", "")),
        deployment=str(failed.get("deployment", "")),
    )


def _result(record: Record, deltas: bytes) -> Result:
    response = record.get("response")
    whole = first_choice(response) if response else None
    content = (whole.message.content if whole and whole.message else "") or content_of(deltas)
    finish_reason = _text(record, "finish_reason") or (whole.finish_reason if whole else None)
    usage = record.get("usage")
    return Result(
        content=content,
        finish_reason=finish_reason,
        usage=_decode_usage(usage) if usage else None,
        response=msgspec.Raw(response) if response else None,
    )


def _text(record: Record, name: str) -> str | None:
    return record[name].decode() if record.get(name) else None


def _time(record: Record, name: str) -> str | None:
    return clock.rfc3339(float(record[name])) if record.get(name) else None
