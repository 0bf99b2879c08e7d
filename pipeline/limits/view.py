"""A look at the limits: what is used, who waits where, and what stops a request."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.event import Event
from pipeline.limits.caps import (
    Cap,
    account_scope,
    deployment_cap,
    key_scope,
    own_limits,
    provider_cap,
)
from pipeline.limits.quota import Dimension, Quota, Scope
from pipeline.limits.refusals import scope_of
from pipeline.limits.runner import PARTS
from pipeline.limits.tickets import Packed, ticket_of
from pipeline.names import Names
from pipeline.settings.load import Settings
from pipeline.streams.link import Argument, Link
from pipeline.streams.scripts import load

LOOK: Final = load("pipeline.limits", *PARTS, "look")

#: Scope, name of its limit, name of the limit by default.
Triple = tuple[str, str, str]


class HealthUse(msgspec.Struct, frozen=True, array_like=True):
    """How a deployment does; times in ms."""

    #: For so long it is cut off; 0: until its trial ends, -1: it is not.
    open_ms: float = -1
    failed: int = 0
    trips: int = 0
    #: To the first token: the mean, and by when 95 of 100 are there.
    first_ms: float = 0
    first_p95_ms: float = 0
    token_ms: float = 0
    #: Since it was measured; -1: never.
    age_ms: float = -1


class ScopeUse(msgspec.Struct, frozen=True, array_like=True):
    """What is used of a scope; times are ms from now, counts are tokens or requests."""

    scope: str
    cap: Cap
    leases: int
    rests_ms: float
    minute_requests: int
    minute_tokens: float
    window_requests: int
    day_requests: int
    day_tokens: float
    #: Until all of the requests, and all of the tokens, of a minute are there again.
    requests_reset_ms: float
    tokens_reset_ms: float
    #: Limits that the provider showed; -1: none.
    found_rpm: float
    found_tpm: float
    found_concurrency: float
    #: Requests that wait for this limit.
    held: int
    #: Until a request can go; 0: now, -1: nobody knows.
    wait_ms: float
    #: How long the oldest of those waits that are held.
    oldest_ms: float = 0
    health: HealthUse = HealthUse()


class RoomUse(msgspec.Struct, frozen=True, array_like=True):
    """A room in which somebody waits: in the classes high, default and low."""

    name: str
    deployments: tuple[str, ...]
    waiting: tuple[int, int, int]
    oldest_ms: float
    #: Mean time from one admission to the next; 0: not known yet.
    pace_ms: float


class DeadKey(msgspec.Struct, frozen=True, array_like=True):
    """A key that its provider refused."""

    key: str
    #: Unix time in ms.
    since_ms: float
    why: str
    #: Until one request tries it again.
    probe_ms: float


class _Place(msgspec.Struct, frozen=True, array_like=True):
    state: str = ""
    place: int = 0
    ms: float = -1


class Stop(msgspec.Struct, frozen=True, array_like=True):
    """Whether one of our limits stops a request, and for how long; -1 ms: nobody knows."""

    scope: str
    ms: float
    dimension: str
    limit: int
    remaining: float


class CandidateLook(msgspec.Struct, frozen=True, array_like=True):
    """Whether a candidate would take a request, by which key, and when; -1 ms: nobody knows."""

    deployment: str
    key: str
    ms: float
    why: str
    tokens: int


class Judged(msgspec.Struct, frozen=True, array_like=True):
    """What admission would go by, if it were asked now; -1 ms: nobody knows."""

    #: Our limit that stops it; empty: none does.
    scope: str = ""
    own_ms: float = 0
    dimension: str = ""
    limit: int = 0
    remaining: float = 0
    window_ms: float = 0
    #: Requests that wait for this limit.
    held: int = 0
    #: What it would get; empty: nothing fits.
    deployment: str = ""
    key: str = ""
    fits_ms: float = -1
    why: str = ""
    #: Requests in its room, and how many there may be.
    waiting: int = 0
    most: int = 0
    ahead: int = 0
    turn_ms: float = -1


class Sight(msgspec.Struct, frozen=True):
    """What one look found."""

    wall: float
    scopes: tuple[ScopeUse, ...] = ()
    rooms: tuple[RoomUse, ...] = ()
    dead: tuple[DeadKey, ...] = ()
    place: _Place = _Place()
    own: tuple[Stop, ...] = ()
    candidates: tuple[CandidateLook, ...] = ()
    judged: Judged = Judged()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the queue; 1 is next. `eta_s` None: nobody knows."""

    position: int
    eta_s: float | None = None


_decode_sight: Final = msgspec.msgpack.Decoder(Sight).decode


def keys(names: Names) -> list[str]:
    """Give the keys with which the look is called."""
    return [names.limits, names.clock]


def argument(
    scopes: Sequence[Triple] = (),
    *,
    rooms: bool = False,
    ticket: str = "",
    question: Packed | None = None,
    caps: Mapping[str, object] | None = None,
) -> bytes:
    """Write what to look at, as `look.lua` reads it; `caps` are tried in place of all that hold."""
    asked: dict[str, object] = {
        "scopes": [part for triple in scopes for part in triple],
        "rooms": rooms,
        "ticket": ticket,
        "question": question or False,
        "caps": caps or False,
    }
    return msgspec.msgpack.encode(asked)


def read(packed: bytes) -> Sight:
    """Read what a look found."""
    return _decode_sight(packed)


def their_scopes(settings: Settings, catalog: Catalog) -> list[Triple]:
    """List the scopes of all deployments that are configured: its own, its account's or keys'."""
    found: dict[Triple, None] = {}
    for deployment in catalog.deployments():
        own = deployment_cap(deployment.id)
        found[own, own, own] = None
        cap = provider_cap(deployment.provider)
        if settings.providers[deployment.provider].shares_limits:
            account = account_scope(deployment.provider, deployment.model)
            found[account, cap, cap] = None
        else:
            for key in catalog.key_ids(deployment.provider):
                found[key_scope(key, deployment.model), cap, cap] = None
    return list(found)


def our_scopes(settings: Settings) -> list[Triple]:
    """List the scopes of all tenants, their tokens, and the users and models that have limits."""
    found: list[Triple] = []
    for name, tenant in settings.tenants.items():
        found.append((f"t:{name}", f"t:{name}", f"t:{name}"))
        members = {
            "u": [user for user in tenant.users if user != "default"],
            "x": [token.id for token in tenant.tokens],
            "m": [model for model in tenant.model_limits if model != "default"],
        }
        found += [
            (f"{kind}:{name}:{one}", f"{kind}:{name}:{one}", f"{kind}:{name}")
            for kind, ones in members.items()
            for one in ones
        ]
    return found


class View:
    """Looks for a process that has a link."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._keys = keys(names)

    async def look(self, packed: bytes) -> Sight:
        """Look once. Raises `LinkError`."""
        arguments: list[Argument] = [packed]
        found: bytes = await self._link.run(LOOK, self._keys, arguments)
        return read(found)

    async def place(self, ticket: str) -> Place | None:
        """Tell where a ticket waits; None: it does not. Raises `LinkError`."""
        found = (await self.look(argument(ticket=ticket))).place
        if found.state not in ("waiting", "held"):
            return None
        eta_s = round(found.ms / 1000, 3) if found.ms >= 0 else None
        return Place(position=max(1, found.place), eta_s=eta_s)

    async def place_of(self, event: Event) -> Place | None:
        """Tell where an event waits. Raises `LinkError`."""
        return await self.place(ticket_of(event))

    async def quotas(self, event: Event) -> tuple[Quota, ...]:
        """Tell how much our limits leave to those whose request it is. Raises `LinkError`."""
        sight = await self.look(argument(own_limits(event)))
        return tuple(quota for use in sight.scopes for quota in quotas_of(use))


def quotas_of(use: ScopeUse) -> list[Quota]:
    """Tell how much one of our limits leaves, by dimension."""
    kind, name = scope_of(use.scope)
    cap, day_reset_s = use.cap, 86_400.0 - clock.now() % 86_400.0
    known: list[tuple[Dimension, int, float, float, float]] = [
        ("rpm", cap.rpm, use.minute_requests, use.requests_reset_ms / 1000, 60.0),
        ("tpm", cap.tpm, use.minute_tokens, use.tokens_reset_ms / 1000, 60.0),
        ("rpd", cap.rpd, use.day_requests, day_reset_s, 86_400.0),
        ("tpd", cap.tpd, use.day_tokens, day_reset_s, 86_400.0),
        ("concurrency", cap.concurrency, use.leases, 0.0, 0.0),
        ("window", cap.window, use.window_requests, cap.window_ms / 1000, cap.window_ms / 1000),
    ]
    scope: Scope = kind  # type: ignore[assignment]  # it is one of ours
    return [
        Quota(
            scope=scope,
            name=name,
            dimension=dimension,
            limit=limit,
            remaining=max(0, int(limit - used)),
            reset_s=reset_s,
            window_s=window_s,
        )
        for dimension, limit, used, reset_s, window_s in known
        if limit >= 0
    ]
