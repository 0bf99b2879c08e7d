"""The ladder: which rung an event climbs to, and who may climb at all.

A rung is a length of time. All that wait on one wait equally long, so its stream is in due order.
"""

import msgspec

from pipeline import clock, tracing
from pipeline.errors import CLIMBING, Failure, QueueFull
from pipeline.event import Event, Facts, Line
from pipeline.outcome import Climb, Die


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """The rungs of a model, ascending, in seconds."""

    rungs: tuple[int, ...]
    #: By how much a rung may be shorter than the provider's hint, in seconds.
    tolerance_s: float = 0.0

    def next_rung(self, event: Event, hint_s: float) -> int | None:
        """Give the first rung not yet used that is at least the provider's hint; none is left.

        One that ends after the event's deadline is of no use to it.
        """
        for rung in self.rungs[event.rungs_skipped :]:
            if rung in event.climbed or rung < hint_s - self.tolerance_s:
                continue
            in_time = not event.deadline or clock.now() + rung < event.deadline
            return rung if in_time else None
        return None


def may_climb(event: Event) -> bool:
    """Tell whether nobody holds a connection open for the event's whole answer."""
    return event.patient or event.direct


def leg_lines(event: Event) -> list[Line]:
    """Give the journal's lines since the event last left a rung."""
    lines: list[Line] = []
    for line in reversed(event.journal):
        if "rung" in line.facts:
            break
        lines.append(line)
    return lines[::-1]


def _has_hope(event: Event, last: Failure) -> bool:
    causes = {line.facts.get("cause") for line in leg_lines(event)}
    return last.cause in CLIMBING or last.code == QueueFull.code or not causes.isdisjoint(CLIMBING)


def climb_or_die(event: Event, last: Failure, end: Die, ladder: Ladder) -> Climb | Die:
    """Send an event onto its next rung after its `last` failure, or end it as `end` says.

    It climbs if it is patient, time may mend what failed in this leg, and a rung is left.
    """
    climbs = may_climb(event) and _has_hope(event, last)
    rung = ladder.next_rung(event, last.retry_after_s) if climbs else None
    if rung is None:
        return end
    facts: Facts = {**end.facts, "rung": rung}
    climbing = msgspec.structs.replace(
        event,
        leg=event.leg + 1,
        climbed=(*event.climbed, rung),
        tried=(),
        lease=None,
        failure=last,
    )
    return Climb(tracing.on_next_leg(climbing), last, rung, facts)
