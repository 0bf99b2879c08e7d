"""What clients are told of limits and of the waiting room; Redis's silence costs only the telling.

The gateway looks at what the gate's scripts keep, through a view; it decides nothing by it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import redis.exceptions

from gateway.exchange import Headers
from gateway.quota_headers import quota_headers
from pipeline import event as events
from pipeline.event import Event
from pipeline.limits.quota import Quota
from pipeline.limits.tickets import ticket_of
from pipeline.names import Names
from pipeline.settings.load import TenantLimits, TenantSettings
from pipeline.streams.link import Link

#: An answer is not held up longer than this for what stands beside it, in seconds.
PATIENCE_S: Final = 0.5

#: What keeps something from being told, and must keep nothing else; the last comes of a gate of
#: another version.
_UNTOLD: Final = (redis.exceptions.RedisError, TimeoutError, msgspec.MsgspecError)

_UNLIMITED: Final = TenantLimits()


class Spot(Protocol):
    """A place in the waiting room."""

    @property
    def position(self) -> int:
        """1 is next."""
        ...

    @property
    def eta_s(self) -> float | None:
        """Seconds until its turn; none: nobody knows."""
        ...


class View(Protocol):
    """A look at the limits and at the waiting room, in one round trip each."""

    async def quotas(self, event: Event, /) -> tuple[Quota, ...]:
        """Tell how much is left of each of our limits on an event."""
        ...

    async def place(self, ticket: str, /) -> Spot | None:
        """Tell a ticket's place; none: it does not wait."""
        ...


Sight = Callable[[Link, Names], View]


class Outlook:
    """Asks the view, for those alone to whom it has something to tell."""

    def __init__(self, link: Link, names: Names, view: View) -> None:
        self._link = link
        self._names = names
        self._view = view

    async def headers(self, event: Event) -> Headers:
        """Give the headers that tell the state of a client's limits, where it can be had."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return quota_headers(await self._view.quotas(event))
        except _UNTOLD:
            return ()

    async def spot(self, request_id: str) -> Spot | None:
        """Tell a request's place in the waiting room, where it has one that can be had."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                parked = await self._link.call("HGET", self._names.parked, request_id)
                # The ticket is the leg's: only the event knows how often it was retried.
                return await self._view.place(ticket_of(events.decode(parked))) if parked else None
        except _UNTOLD:
            return None


def limited(tenants: Mapping[str, TenantSettings]) -> frozenset[str]:
    """Name the tenants that have any limit of ours, on whatever part of them."""
    return frozenset(name for name, tenant in tenants.items() if _has_limits(tenant))


def _has_limits(tenant: TenantSettings) -> bool:
    parts = (tenant.users, tenant.token_limits, tenant.model_limits)
    listed = [tenant.limits, *(limits for part in parts for limits in part.values())]
    return any(limits != _UNLIMITED for limits in listed)
