"""Tries a request on the limits without sending it: what admission would say to it now.

The scripts find out what stops it (`look.lua`); what follows from that is decided here as
`door.lua` does it.
"""

import msgspec

from pipeline.catalog import Catalog
from pipeline.event import Event, Lease
from pipeline.limits.caps import caps_of, own_limits
from pipeline.limits.plans import Plans, Room
from pipeline.limits.tickets import Refusal, Verdict, Waiting, question
from pipeline.limits.view import Judged, Sight, argument
from pipeline.settings.load import Settings


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is tried: its room has to be made known before the look."""

    event: Event
    room: Room
    #: Whether it would rather be refused than wait for one of our limits.
    refuses: bool
    packed: bytes


def trial(settings: Settings, catalog: Catalog, event: Event, *, unpublished: bool) -> Trial:
    """Write the look for an event; by the configuration's limits or by the published ones."""
    room = Plans(settings, catalog).room(event.plan)
    tenant = settings.tenants.get(event.tenant)
    model = settings.models.get(event.model)
    refuses = model is not None and model.on_limit == "refuse"
    asked = question(
        event,
        room,
        weight=tenant.weight if tenant else 1,
        is_known=tenant is not None,
        refuses=refuses,
    )
    caps: dict[str, object] | None = None
    if unpublished:
        caps = {**caps_of(settings, catalog), "gate": [0, settings.gate.max_queue_size, 0]}
    scopes = own_limits(event) if tenant else []
    packed = argument(scopes, question=asked, caps=caps)
    return Trial(event=event, room=room, refuses=refuses, packed=packed)


def verdict(tried: Trial, sight: Sight) -> Verdict:
    """Say what admission would answer."""
    judged = sight.judged
    deadline = tried.event.deadline
    left_ms = deadline * 1000 - sight.wall if deadline else float("inf")
    if judged.scope:
        return _stopped(tried, judged, left_ms)
    if judged.deployment and not judged.waiting:
        return Lease(deployment=judged.deployment, key=judged.key)
    if judged.why in ("dead", "heavy"):
        return Refusal(why="dead" if judged.why == "dead" else "heavy")
    ms = judged.turn_ms if judged.waiting else max(judged.turn_ms, judged.fits_ms)
    if judged.waiting >= judged.most:
        return Refusal(why="full", reset_s=_seconds(ms))
    if ms > left_ms:
        return Refusal(why="unreachable", reset_s=_seconds(ms))
    return Waiting(place=judged.ahead + 1, eta_s=_seconds(ms))


def _stopped(tried: Trial, judged: Judged, left_ms: float) -> Verdict:
    """Say what follows from one of our limits in the way."""
    if judged.dimension == "no_access":
        return _refused(judged, Refusal(why="no_access"))
    if judged.dimension == "heavy":
        return _refused(judged, Refusal(why="heavy"))
    wait_s = _seconds(judged.own_ms)
    if tried.refuses or judged.own_ms > left_ms:
        return _refused(judged, Refusal(why="limited", reset_s=wait_s))
    if judged.held >= judged.most:
        return _refused(judged, Refusal(why="full", reset_s=wait_s))
    return Waiting(scope=judged.scope, place=judged.held + 1, eta_s=wait_s)


def _refused(judged: Judged, refusal: Refusal) -> Refusal:
    return msgspec.structs.replace(
        refusal,
        scope=judged.scope,
        dimension=judged.dimension,
        limit=judged.limit,
        remaining=int(judged.remaining),
        window_s=judged.window_ms / 1000,
    )


def _seconds(ms: float) -> float:
    return ms / 1000 if ms >= 0 else -1.0
