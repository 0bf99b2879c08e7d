"""The first hop: which deployments may serve the request, in the order to try them."""

import msgspec

from pipeline.catalog import Catalog
from pipeline.companions import planned
from pipeline.errors import SluiceError
from pipeline.event import Event, Facts
from pipeline.flow import GATE, ROUTE
from pipeline.needs import sticky_hash
from pipeline.outcome import Die, Forward, Outcome
from pipeline.preferences import told
from workers.deadline import overdue


async def route(event: Event, *, catalog: Catalog) -> Outcome:
    """Find the candidates that can serve the request under the model's name, and its companions'.

    In: a request as accepted, or as a direct producer wrote it.
    Out: to the gate with its plan, under our own name for its model; dead when a model is
    unknown, when none of its deployments can serve the request, or the deadline has passed.
    Twice: looks up the same catalog again, and changes nothing.
    """
    if late := overdue(event, ROUTE):
        return Die(event, late)
    try:
        fit, also = catalog.fit(event), planned(event, catalog)
    except SluiceError as error:
        return Die(event, error.failure())
    model = catalog.canonical(event.model)
    routed = msgspec.structs.replace(
        event, model=model, plan=fit.plan, sticky=_sticky(event, catalog), also=also
    )
    facts: Facts = {"candidates": len(fit.plan), "first": fit.plan[0].deployment}
    if model != event.model:
        facts["alias"] = event.model
    if fit.left_out:
        facts["left_out"] = fit.left_out
    if also:
        facts["also"] = told(also)
    if event.follows:
        facts["follows"] = event.follows
    return Forward(routed, GATE, facts)


def _sticky(event: Event, catalog: Catalog) -> str:
    """Settle by what the request sticks to a deployment: the way in has hashed its cache key."""
    by = catalog.model(event.model).sticky
    if by == "off" or event.operation != "chat":
        return ""
    if by == "user" and event.user and not event.sticky:
        return sticky_hash(b"user", f"{event.tenant}/{event.user}".encode())
    return event.sticky
