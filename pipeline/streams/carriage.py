"""What the engine writes for each outcome: the arguments of the transition script."""

from typing import assert_never

import msgspec

from pipeline import event as events
from pipeline.errors import UNLETTERED, Failure
from pipeline.event import Closing, Event, Line, Status
from pipeline.flow import CALL, GATE, ROUTE
from pipeline.outcome import Climb, Die, Finish, Forward, Outcome, Wait
from pipeline.streams.link import Argument
from pipeline.summary import summary_of


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept after a request's end, in seconds."""

    replies_s: int
    #: What belongs to an idempotency key.
    repeats_s: int = 0
    events_s: int
    dead_s: int


class Source(msgspec.Struct, frozen=True):
    """Where an entry came from: stream (without prefix), group and entry id."""

    stream: str
    group: str
    entry: str


def arguments(
    source: Source, outcome: Outcome, event: Event, line: Line, kept: Kept
) -> list[Argument]:
    """Give the arguments of one outcome for `transition.lua`, with the event as it was `left`."""
    head: list[Argument] = [source.stream, source.group, source.entry, event.id]
    fields = _fields(outcome, event.status, line)
    match outcome:
        case Forward(to=to):
            verb: list[Argument] = ["F", to, events.encode(event)]
        case Wait():
            verb = ["W", events.encode(event)]
        case Climb(rung=rung):
            verb = ["C", rung, events.encode(event)]
        case Finish():
            verb = ["E", *_end(event, b"", kept.events_s)]
        case Die(failure=failure):
            # What a client cancelled or the gate refused is nobody's to look after: no letter.
            letter = b"" if failure.cause in UNLETTERED else events.encode(event)
            verb = ["E", *_end(event, letter, kept.dead_s if letter else kept.events_s)]
        case _:
            assert_never(outcome)
    return [*head, *verb, len(fields) // 2, *fields]


def left(source: Source, outcome: Outcome, line: Line) -> Event:
    """Give the event as its hop leaves it."""
    changes: dict[str, object] = {"delivery": 1, "status": _status(outcome, source)}
    if source.group == ROUTE:
        changes["entry"] = f"{source.stream.partition(':')[2]}:{source.entry}"
    if isinstance(outcome, Die):
        changes |= {"cancelled": False, "failure": outcome.failure}
    return events.written(outcome.event, line, **changes)


def _status(outcome: Outcome, source: Source) -> Status:
    match outcome:
        case Forward(to=to):
            if to == GATE:
                return "retrying" if source.stream == CALL else "queued"
            return "running"
        case Wait():
            return "waiting"
        case Climb():
            return "retrying"
        case Finish():
            return "completed"
        case Die(failure=failure):
            return "cancelled" if failure.cause == "cancelled" else "failed"


def _fields(outcome: Outcome, status: Status, line: Line) -> list[Argument]:
    """Give what changes in the record, the new lines of the journal among it.

    From route to gate nothing changes that is worth a write: its line comes with the next.
    """
    event = outcome.event
    fields: list[Argument] = []
    lines = (*event.journal, line)
    if event.direct and len(lines) == 1:
        fields = _first_fields(event, status)
    match outcome:
        case Forward(to=to, response=response):
            if to == GATE and len(lines) == 1:
                return fields
            if to == CALL and event.lease:
                fields += ["started", f"{line.end:.6f}", "deployment", event.lease.deployment]
            if response:
                fields += ["response", response]
        case Climb():
            fields += ["leg", event.leg, *_trace_field(event)]
        case Wait():
            fields += ["waiting_since", f"{line.end:.6f}"]
        case Finish():
            fields += _last_fields(event, line, None)
        case Die(failure=failure):
            fields += _last_fields(event, line, failure)
    fields += ["status", status]
    if len(lines) <= 2 and event.trace and not event.trace.served:
        # It may have been decided about here; what the gateway serves was there before.
        fields += _trace_field(event)
    for number in range(1 if len(lines) == 2 else len(lines), len(lines) + 1):
        fields += [str(number), events.encode(lines[number - 1])]
    return fields


def _first_fields(event: Event, status: Status) -> list[Argument]:
    """Begin the record of a direct producer's request."""
    fields: list[Argument] = [
        "status", status, "model", event.model, "created", f"{event.created:.6f}",
    ]  # fmt: skip
    if event.session:
        fields += ["session", event.session]
    if event.tenant:
        fields += ["tenant", event.tenant]
    return [*fields, *_trace_field(event)]


def _trace_field(event: Event) -> list[Argument]:
    return ["trace_id", event.trace.id] if event.trace else []


def _last_fields(event: Event, line: Line, failure: Failure | None) -> list[Argument]:
    fields: list[Argument] = ["finished", f"{line.end:.6f}", "attempts", event.attempts]
    if event.cost:
        fields += ["cost", f"{event.cost:.12g}"]
    if event.finish_reason:
        fields += ["finish_reason", event.finish_reason]
    if event.usage:
        fields += ["usage", events.encode(event.usage)]
    if failure:
        fields += ["failure", events.encode(failure)]
    return fields


def _end(event: Event, letter: bytes, body_ttl_s: int) -> list[Argument]:
    """Give what an end writes; a body that travelled has no key of its own to expire."""
    closing = Closing(
        status=event.status,
        generation=event.generation,
        deltas=event.deltas,
        finish_reason=event.finish_reason,
        usage=event.usage,
        failure=event.failure,
        summary=summary_of(event),
        ended=max(line.end for line in event.journal) if event.trace else 0.0,
        leg=event.leg if event.trace else 0,
    )
    ended = msgspec.structs.replace(event, body=events.NO_BODY)
    if event.has_body:
        body_ttl_s = 0
    return [events.encode(ended), letter, events.encode(closing), body_ttl_s, event.session]
