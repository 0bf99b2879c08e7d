"""The flow as data: which hop reads what, where each may send an event, and its drawing."""

from typing import Final

import msgspec

ROUTE: Final = "route"
GATE: Final = "gate"
CALL: Final = "call"
RESPOND: Final = "respond"


class HopSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One hop: its name is its file, actor, stream, consumer group, span and metric label."""

    name: str
    #: Hops it may forward to.
    to: tuple[str, ...] = ()
    #: Other ways an event may leave it.
    ends: tuple[str, ...] = ()
    #: Whether a run may take minutes and is counted against `workers.calls`.
    long: bool = False


HOPS: Final[tuple[HopSpec, ...]] = (
    HopSpec(name=ROUTE, to=(GATE,), ends=("dead",)),
    HopSpec(name=GATE, to=(CALL,), ends=("waiting room", "dead")),
    HopSpec(name=CALL, to=(RESPOND, GATE), ends=("dead",), long=True),
    HopSpec(name=RESPOND, ends=("done",)),
)

BY_NAME: Final = {hop.name: hop for hop in HOPS}
