"""The second hop: holds the request until a deployment has capacity for it."""

import msgspec

from pipeline.event import Event
from pipeline.flow import CALL, GATE
from pipeline.limits.admission import Admission, Refusal
from pipeline.outcome import Die, Forward, Outcome, Wait
from workers.deadline import overdue


async def gate(event: Event, *, admission: Admission) -> Outcome:
    """Take a lease on a deployment, or a place in the waiting room.

    In: an event with its plan; or one that was woken, whose lease waits for it.
    Out: to the call with its lease; into the waiting room; dead when its deadline has passed.
    Twice: the same ticket gets the same lease or the same place.
    """
    if late := overdue(event, GATE):
        await admission.leave(event)
        return Die(event, late)
    lease = await admission.admit(event)
    if isinstance(lease, Refusal):
        return Wait(event, {"limit": "concurrency"})
    admitted = msgspec.structs.replace(event, lease=lease)
    return Forward(admitted, CALL, {"deployment": lease.deployment, "key": lease.key})
