"""The second hop: holds the request until a deployment has capacity for it."""

from typing import assert_never

import msgspec

from pipeline.errors import SluiceError
from pipeline.event import Event, Facts, Lease
from pipeline.flow import CALL, GATE
from pipeline.limits import refusals
from pipeline.limits.admission import Admission
from pipeline.limits.tickets import Refusal, Waiting
from pipeline.outcome import Die, Forward, Outcome, Wait
from workers.deadline import overdue


async def gate(event: Event, *, admission: Admission) -> Outcome:
    """Take a lease on a deployment, or a place in the waiting room.

    In: an event with its plan; or one that was woken, whose lease waits for it.
    Out: to the call with its lease; into the waiting room; dead when its deadline has passed or
    cannot be met, when our limits refuse it, or when no deployment can ever take it.
    Twice: the same ticket gets the same lease or the same place.
    """
    if late := overdue(event, GATE):
        admission.leave(event)
        return Die(event, late)
    try:
        verdict = await admission.admit(event)
    except SluiceError as error:
        # A deployment of its plan is no longer in the configuration.
        admission.leave(event)
        return Die(event, error.failure())
    match verdict:
        case Lease():
            admitted = msgspec.structs.replace(event, lease=verdict)
            return Forward(admitted, CALL, {"deployment": verdict.deployment, "key": verdict.key})
        case Waiting():
            return Wait(event, _place(verdict))
        case Refusal():
            refused: Facts = {"refused": verdict.why}
            if verdict.scope:
                refused["scope"] = verdict.scope
            return Die(event, refusals.failure(verdict, event), refused)
        case _:
            assert_never(verdict)


def _place(waiting: Waiting) -> Facts:
    facts: Facts = {"waits_for": waiting.scope or "capacity", "place": waiting.place}
    if waiting.eta_s >= 0:
        facts["eta_s"] = round(waiting.eta_s, 3)
    return facts
