"""Waiting rooms' plans: the candidates of a room as the admission scripts read them.

A room belongs to a set of candidates; its plan is made known to Redis before the first of its
events asks.
"""

import hashlib
from typing import Final

import msgspec

from pipeline import prices
from pipeline.catalog import Catalog, Deployment
from pipeline.event import Candidate, Companion
from pipeline.limits.caps import (
    CLASSES,
    account_scope,
    deployment_cap,
    key_scope,
    provider_cap,
    reserved,
)
from pipeline.settings.load import Settings

#: Rooms remembered by a process; clients choose the names of an `any_model` provider's models.
_MAX_REMEMBERED: Final = 4096
#: Candidates that the scripts unpack at once (`candidates.lua`).
_EIGHT: Final = 8


class Key(msgspec.Struct, frozen=True):
    """A provider key by its public name, and the limits that are its own."""

    id: str
    scopes: tuple[str, ...]


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A candidate: scopes are pairs of scope and name of its limit, the deployment's own first."""

    deployment: str
    upstream: str
    rank: int
    scopes: tuple[str, ...]
    keys: tuple[Key, ...]
    #: The scope in which the provider counts; empty: the key's.
    quota: str
    #: How to choose within the rank, and by what (`strategies.lua`).
    strategy: str = ""
    weight: int = 1
    #: US dollars per prompt's and answer's token; none: unknown.
    price: tuple[float, float] | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a room is for: how many candidates, and the classes that have reserved shares.

    Its candidates follow in their order, packed by eights: the scripts unpack only those that
    they look at.
    """

    size: int
    reserved: tuple[int, ...]
    #: Of each companion its room, calls, tokens of prompts, and of answers (0: unknown, -1: none).
    also: tuple[tuple[str, float, int, int], ...] | None = None


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A room's name, its plan as the scripts read it, and the upstreams that may serve it."""

    name: str
    packed: bytes
    upstreams: tuple[str, ...]
    size: int
    companions: tuple["Room", ...] = ()


class Plans:
    """The rooms of one configuration."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._catalog = catalog
        self._reserved = tuple(CLASSES[lane] for lane in reserved(settings))
        self._rooms: dict[tuple[tuple[Candidate, ...], tuple[Companion, ...]], Room] = {}

    def room(self, candidates: tuple[Candidate, ...], also: tuple[Companion, ...] = ()) -> Room:
        """Give the room of these candidates, and companions.

        Raises `ModelNotFound` for one that is no more.
        """
        known = self._rooms.get((candidates, also))
        if known:
            return known
        room = self._make(candidates, also)
        if len(self._rooms) >= _MAX_REMEMBERED:
            del self._rooms[next(iter(self._rooms))]
        self._rooms[candidates, also] = room
        return room

    def _make(self, candidates: tuple[Candidate, ...], also: tuple[Companion, ...]) -> Room:
        choices = tuple(self._choice(one) for one in sorted(candidates, key=lambda one: one.rank))
        companions = tuple(self.room(one.plan) for one in also)
        plan = Plan(
            size=len(choices),
            reserved=self._reserved,
            also=tuple(
                (room.name, one.calls, one.tokens, -1 if one.operation == "embeddings" else 0)
                for room, one in zip(companions, also, strict=True)
            )
            or None,
        )
        eights = (choices[at : at + _EIGHT] for at in range(0, len(choices), _EIGHT))
        packed = b"".join(map(msgspec.msgpack.encode, (plan, *eights)))
        upstreams = [one.upstream for one in choices]
        upstreams += [upstream for room in companions for upstream in room.upstreams]
        return Room(
            name=hashlib.sha256(packed).hexdigest()[:16],
            packed=packed,
            upstreams=tuple(dict.fromkeys(upstreams)),
            size=len(choices) + sum(room.size for room in companions),
            companions=companions,
        )

    def _choice(self, candidate: Candidate) -> Choice:
        deployment = self._catalog.deployment(candidate.deployment)
        own = deployment_cap(deployment.id)
        account, keys = self._counted(deployment)
        return Choice(
            deployment=deployment.id,
            upstream=upstream_of(deployment),
            rank=candidate.rank,
            scopes=(own, own, *account),
            keys=keys,
            quota=account[0] if account else "",
            strategy=candidate.strategy,
            weight=candidate.weight,
            price=self._price(deployment) if candidate.strategy == "cost" else None,
        )

    def _price(self, deployment: Deployment) -> tuple[float, float] | None:
        price = prices.price(self._catalog.provider(deployment.provider), deployment)
        return (price.prompt / 1e6, price.completion / 1e6) if price else None

    def _counted(self, deployment: Deployment) -> tuple[tuple[str, ...], tuple[Key, ...]]:
        """Tell in which scopes a provider's limits hold: the account's, or each key's."""
        provider = self._catalog.provider(deployment.provider)
        cap = provider_cap(deployment.provider)
        ids = self._catalog.key_ids(deployment.provider)
        if provider.shares_limits:
            account = account_scope(deployment.provider, deployment.model)
            return (account, cap), tuple(Key(one, ()) for one in ids)
        return (), tuple(Key(one, (key_scope(one, deployment.model), cap)) for one in ids)


def upstream_of(deployment: Deployment) -> str:
    """Name what deployments have in common that are the same model at the same provider."""
    return f"{deployment.provider}/{deployment.model}"
