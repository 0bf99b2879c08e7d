"""A leg of a request's journey: what its journal tells between two rungs of the ladder."""

from collections.abc import Iterator, Sequence
from typing import Literal, assert_never

import msgspec

from pipeline.event import Event, Line, Trace
from pipeline.flow import CALL
from pipeline.outcome import Climb, Die, Finish, Forward, Wait
from pipeline.passage import Passage

End = Literal["", "completed", "failed", "cancelled", "climbed"]


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg; `event` is as its last line left it."""

    event: Event
    #: None: it is not traced.
    trace: Trace | None
    number: int
    lines: Sequence[Line]
    #: When it began, in Unix seconds.
    start: float
    #: How it ended; empty: it has not.
    end: End = ""
    #: Calls of the legs before.
    calls_before: int = 0
    #: The root of the leg before, or of what is replayed, and of the leg after, as `traceparent`s.
    previous: str = ""
    next: str = ""


def is_call(line: Line) -> bool:
    """Tell whether a provider was called in a hop."""
    return line.hop == CALL and "call_ms" in line.facts


def ended_by(passage: Passage) -> Leg | None:
    """Give the leg that a passage has ended; none: it goes on."""
    match passage.outcome:
        case Forward() | Wait():
            return None
        case Finish():
            end: End = "completed"
        case Climb():
            end = "climbed"
        case Die(failure=failure):
            end = "cancelled" if failure.cause == "cancelled" else "failed"
        case _:
            assert_never(passage.outcome)
    before, event = passage.before, passage.event
    *_, last = split(event.journal, event.created)
    return Leg(
        event=event,
        trace=before.trace,
        number=before.leg,
        lines=last.lines,
        start=last.start,
        end=end,
        calls_before=last.calls_before,
        previous=before.linked,
        next=event.trace.root if end == "climbed" and event.trace else "",
    )


class Stretch(msgspec.Struct, frozen=True):
    """The lines of one leg, when it began, and the calls before it."""

    lines: list[Line]
    start: float
    calls_before: int


def split(journal: Sequence[Line], created: float) -> Iterator[Stretch]:
    """Split a journal into its legs; one that has just left its rung has no lines yet."""
    lines: list[Line] = []
    start, calls, has_climbed = created, 0, False
    for line in journal:
        if has_climbed and not lines:
            # It may have been let go before its rung's time was over.
            start = min(start, line.start)
        lines.append(line)
        if "rung" in line.facts:
            yield Stretch(lines, start, calls)
            calls += sum(map(is_call, lines))
            start, lines, has_climbed = line.end + float(line.facts["rung"]), [], True
    if lines or not journal:
        yield Stretch(lines, start, calls)
