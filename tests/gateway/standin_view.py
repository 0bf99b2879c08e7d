"""A stand-in for the look at limits and the waiting room: tests write what it sees into Redis.

`quotas:{tenant}` is a JSON list of quotas, `place:{ticket}` a JSON place; `look` counts the asking.
"""

import msgspec

from pipeline.event import Event
from pipeline.limits.quota import Quota
from pipeline.names import Names
from pipeline.streams.link import Link


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the waiting room."""

    position: int
    eta_s: float | None = None


class StandinView:
    """Sees what tests have written."""

    def __init__(self, link: Link, _names: Names) -> None:
        self._link = link

    async def quotas(self, event: Event, /) -> tuple[Quota, ...]:
        """Read the quotas of a tenant."""
        await self._link.call("INCR", "look")
        told = await self._link.call("GET", f"quotas:{event.tenant}")
        return msgspec.json.decode(told, type=tuple[Quota, ...]) if told else ()

    async def place(self, ticket: str, /) -> Place | None:
        """Read the place of a ticket."""
        told = await self._link.call("GET", f"place:{ticket}")
        return msgspec.json.decode(told, type=Place) if told else None
