"""Tickets of whoever comes too late: nobody will ever use them, so they are given back.

A worker that stood still may ask for an event that others have long brought to its end: the
ticket of that one is gone, and it gets another. What it made of it is refused, and noted here.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from pipeline import clock
from pipeline.event import ENDED, Event
from pipeline.limits.tickets import ticket_of
from pipeline.names import Names
from pipeline.streams.link import Link, Reply

#: A lease has run out by itself after this.
_LEASE_S: Final = 60.0


class Strays:
    """One worker's part; `leave` gives back what an event holds."""

    def __init__(self, link: Link, names: Names, leave: Callable[[Event], object]) -> None:
        self._link = link
        self._names = names
        self._leave = leave
        #: Events by their tickets, and since when.
        self._noted: dict[str, tuple[Event, float]] = {}

    def note(self, event: Event) -> None:
        """Note an event of which a transition was refused."""
        self._noted.setdefault(ticket_of(event), (event, clock.monotonic()))

    async def look(self) -> None:
        """Give back what is of no use any more: till a leg ends, others may use its ticket."""
        noted = [*self._noted.items()]
        records = [self._names.record(event.id) for _, (event, _) in noted]
        found = await asyncio.gather(
            *(self._link.call("HMGET", record, "status", "leg") for record in records)
        )
        for (ticket, (event, since)), state in zip(noted, found, strict=True):
            if _is_over(event, state):
                self._leave(event)
            if _is_over(event, state) or clock.monotonic() - since > _LEASE_S:
                del self._noted[ticket]


def _is_over(event: Event, state: list[Reply]) -> bool:
    status, leg = state
    return status is None or status.decode() in ENDED or int(leg or 1) > event.leg
