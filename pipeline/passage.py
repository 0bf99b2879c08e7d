"""A hop that an event has passed: what telemetry is told, once the outcome is written.

A transition that was refused, because others had taken the entry over, is no passage.
"""

from collections.abc import Callable

import msgspec

from pipeline.event import Event, Line
from pipeline.outcome import Outcome


class Passage(msgspec.Struct, frozen=True):
    """One hop's end, which Redis has taken."""

    #: As the hop was given it.
    before: Event
    #: As the hop left it: with its line and its status, on its next leg where it climbs.
    event: Event
    outcome: Outcome

    @property
    def line(self) -> Line:
        """The hop's own line."""
        return self.event.journal[-1]


#: Is told of each passage, on the event loop: it must be quick, and raises nothing.
Observer = Callable[[Passage], None]
