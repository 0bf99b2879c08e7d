"""The second hop: holds the request until a deployment has capacity for it."""

from typing import Final, assert_never

import msgspec

from pipeline.catalog import Catalog
from pipeline.companions import planned
from pipeline.errors import ModelNotFound, SluiceError
from pipeline.event import Event, Facts, Lease
from pipeline.flow import CALL, GATE
from pipeline.ladder import climb_or_die, leg_lines, may_climb
from pipeline.limits import refusals
from pipeline.limits.admission import Admission
from pipeline.limits.tickets import Granted, Refusal, Verdict, Waiting
from pipeline.outcome import Die, Forward, Outcome, Wait
from workers.deadline import overdue

#: What lies between a refusal and the asking after it, in seconds.
_ROUNDING_S: Final = 1.0


async def gate(event: Event, *, admission: Admission, catalog: Catalog) -> Outcome:
    """Take a lease on a deployment, or a place in the waiting room.

    In: an event with its plan; one that was woken, whose lease waits for it; or one that left a
    rung of the ladder.
    Out: to the call with its lease; into the waiting room; onto the ladder when the waiting room
    is full, all deployments are cut off, or the provider wants to be left alone for longer than
    a rung is long; dead when its deadline has passed or cannot be met, when our limits refuse
    it, or when no deployment can ever take it.
    Twice: the same ticket gets the same lease or the same place.
    """
    if late := overdue(event, GATE):
        admission.leave(event)
        return Die(event, late)
    try:
        event, verdict = await _admitted(event, admission, catalog)
    except SluiceError as error:
        admission.leave(event)
        return Die(event, error.failure())
    match verdict:
        case Lease():
            return _admit(event, verdict)
        case Waiting():
            return _waits(event, verdict, admission, catalog)
        case Refusal():
            refused: Facts = {"refused": verdict.why}
            if verdict.scope:
                refused["scope"] = verdict.scope
            if verdict.dimension:
                refused["limit"] = verdict.dimension
            end = Die(event, refusals.failure(verdict, event), refused)
            if verdict.why not in ("full", "down"):
                return end
            # Time mends that.
            last = msgspec.structs.replace(end.failure, cause="overloaded")
            return climb_or_die(event, last, end, catalog.ladder(event.model))
        case _:
            assert_never(verdict)


async def _admitted(event: Event, admission: Admission, catalog: Catalog) -> tuple[Event, Verdict]:
    try:
        return event, await admission.admit(_asking(event))
    except ModelNotFound:
        # While it climbed, a deployment of its plans has left the configuration.
        also = planned(event, catalog)
        event = msgspec.structs.replace(event, plan=catalog.fit(event).plan, also=also, tried=())
        return event, await admission.admit(_asking(event))


def _asking(event: Event) -> Event:
    """Leave out companions that were paid for in this leg: who is called again has them still."""
    lines = leg_lines(event) if event.also else ()
    if any(line.hop == GATE and "deployment" in line.facts for line in lines):
        return msgspec.structs.replace(event, also=())
    return event


def _admit(event: Event, lease: Lease) -> Outcome:
    """Send an event to its call; what only the journal is to know of its lease stays behind."""
    facts: Facts = {"deployment": lease.deployment, "key": lease.key}
    if isinstance(lease, Granted):
        told = {
            "chosen_by": lease.chosen_by, "scores": lease.scores, "passed_over": lease.passed_over,
        }  # fmt: skip
        facts |= {name: text for name, text in told.items() if text}
        lease = Lease(deployment=lease.deployment, key=lease.key)
    return Forward(msgspec.structs.replace(event, lease=lease), CALL, facts)


def _waits(event: Event, waiting: Waiting, admission: Admission, catalog: Catalog) -> Outcome:
    """Let an event wait; one that its provider has just refused for long climbs instead."""
    rested, last = _refused_s(event), event.failure
    ladder = catalog.ladder(event.model)
    shortest = ladder.next_rung(event, 0)
    if not (may_climb(event) and last and shortest) or rested < shortest:
        return Wait(event, _place(waiting))
    if 0 <= waiting.eta_s < shortest - _ROUNDING_S:
        # Another key or candidate has capacity sooner.
        return Wait(event, _place(waiting))
    end = Die(event, last)
    if ladder.next_rung(event, last.retry_after_s) or not event.deadline:
        admission.leave(event)
        return climb_or_die(event, last, end, ladder)
    return Wait(event, _place(waiting))


def _refused_s(event: Event) -> float:
    """Tell for how long the provider wanted to be left alone that has just refused an event."""
    line = event.journal[-1] if event.journal else None
    if line is None or line.hop != CALL or line.facts.get("cause") != "rate_limited":
        return 0.0
    return float(line.facts.get("rest_s", 0))


def _place(waiting: Waiting) -> Facts:
    facts: Facts = {"waits_for": waiting.scope or "capacity", "place": waiting.place}
    if waiting.eta_s >= 0:
        facts["eta_s"] = round(waiting.eta_s, 3)
    return facts
