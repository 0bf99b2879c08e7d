"""The first hop: which deployments may serve the request, in the order to try them."""

import msgspec

from pipeline.catalog import Catalog
from pipeline.errors import SluiceError
from pipeline.event import Event
from pipeline.flow import GATE, ROUTE
from pipeline.outcome import Die, Forward, Outcome
from workers.deadline import overdue


async def route(event: Event, *, catalog: Catalog) -> Outcome:
    """Find the candidates for the model that the client named.

    In: a request as accepted, or as a direct producer wrote it.
    Out: to the gate with its plan; dead when the model is unknown or the deadline has passed.
    Twice: looks up the same catalog again, and changes nothing.
    """
    if late := overdue(event, ROUTE):
        return Die(event, late)
    try:
        plan = catalog.candidates(event.model)
    except SluiceError as error:
        return Die(event, error.failure())
    routed = msgspec.structs.replace(event, plan=plan)
    return Forward(routed, GATE, {"candidates": len(plan), "first": plan[0].deployment})
