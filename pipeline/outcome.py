"""How a hop ends: a value that says where the event goes. The engine carries it out."""

import msgspec

from pipeline.errors import Failure
from pipeline.event import Event, Facts


class Forward(msgspec.Struct, frozen=True, tag=True):
    """To another hop."""

    event: Event
    to: str
    facts: Facts = {}
    #: The provider's whole response, to be kept in the record in the same step.
    response: bytes = b""


class Wait(msgspec.Struct, frozen=True, tag=True):
    """Into the waiting room, until capacity comes free."""

    event: Event
    facts: Facts = {}


class Climb(msgspec.Struct, frozen=True, tag=True):
    """Onto a rung of the ladder, and from there back to the gate, on its next leg."""

    event: Event
    failure: Failure
    #: Seconds of the rung.
    rung: int
    facts: Facts = {}


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Out of the flow, answered: onto `done`, with the reply's closing."""

    event: Event
    facts: Facts = {}


class Die(msgspec.Struct, frozen=True, tag=True):
    """Out of the flow in failure: a dead letter, and an error for the client."""

    event: Event
    failure: Failure
    facts: Facts = {}


Outcome = Forward | Wait | Climb | Finish | Die
