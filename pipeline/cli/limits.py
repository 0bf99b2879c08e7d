"""`sluice limits`: would a request be admitted now, and if not, why and when."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final, Literal

import msgspec
import redis

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.cli import looking
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.errors import StartError
from pipeline.event import Event, Lease
from pipeline.limits import refusals
from pipeline.limits.caps import caps_key
from pipeline.limits.quota import Quota
from pipeline.limits.runner import REGISTER
from pipeline.limits.tickets import Refusal, Verdict, Waiting
from pipeline.limits.trial import Trial, trial, verdict
from pipeline.limits.view import Sight, Stop, quotas_of

#: How the command ends.
EXITS: Final = {"go": 0, "wait": 3, "refuse": 4}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is tried."""

    model: str
    tenant: str = ""
    user: str = ""
    #: A token's id.
    token: str = ""
    tokens: int = 0
    max_tokens: int = 0
    #: None: the tenant's own.
    priority: int | None = None
    timeout_s: float | None = None


class OwnLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One of our limits on the request; `wait_s` None: nobody knows."""

    scope: str
    name: str
    dimension: str
    limit: int
    used: int
    remaining: int
    wait_s: float | None
    #: What else there is to say of the wait.
    why: str


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate, whether it would take the request, and how many tokens it would count."""

    deployment: str
    key: str
    tokens: int
    wait_s: float | None
    #: What stands in its way; empty: nothing.
    why: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of the request."""

    verdict: Literal["go", "wait", "refuse"]
    says: str
    #: Where the limits come from: `published`, or the configuration's path.
    limits_of: str
    #: Requests that wait in its room.
    waiting: int
    limits: list[OwnLimit]
    candidates: list[Choice]


def ask(where: Where, asked: Asked) -> Answer:
    """Try the request: by a given file's limits, otherwise by the published ones, if there are.

    Raises `ModelNotFound`, `StartError` for a tenant or token that is not configured, and
    `RedisUnavailable`.
    """
    spot = find(where)
    catalog = Catalog(spot.settings)
    with spot.client() as client:
        looking.follow_clock(client, spot.names)
        event = _event(spot, catalog, asked)
        unpublished = bool(where.config) or not client.exists(caps_key(spot.names))
        tried = trial(spot.settings, catalog, event, unpublished=unpublished)
        _make_known(client, spot, tried)
        sight = looking.look(client, spot.names, tried.packed)
    given = verdict(tried, sight)
    says = _says(given, tried, sight)
    if not _may_use(spot, asked):
        given = Refusal(why="no_access")
        says = f"would be refused: {asked.tenant} may not use the model `{asked.model}` (404)"
    return Answer(
        verdict="go"
        if isinstance(given, Lease)
        else "wait"
        if isinstance(given, Waiting)
        else "refuse",
        says=says,
        limits_of=spot.settings.source if unpublished else "published",
        waiting=sight.judged.waiting,
        limits=list(_own_limits(sight)),
        candidates=list(_choices(sight)),
    )


def _event(spot: Place, catalog: Catalog, asked: Asked) -> Event:
    """Make the request as the gateway would."""
    settings = spot.settings
    tenant = settings.tenants.get(asked.tenant)
    known = ", ".join(settings.tenants) or "none"
    if asked.tenant and tenant is None:
        raise StartError(f"no tenant is named {asked.tenant}; configured: {known}")
    if settings.tenants and not asked.tenant:
        raise StartError(f"whose request is it? Say --tenant; configured: {known}")
    ids = [token.id for token in tenant.tokens] if tenant else []
    if asked.token and asked.token not in ids:
        known = ", ".join(ids) or "none"
        raise StartError(f"{asked.tenant or 'no tenant'} has no token {asked.token}; ids: {known}")
    own = tenant.priority if tenant else 0
    timeout_s = min(settings.gateway.request_timeout_s, asked.timeout_s or float("inf"))
    event = Event(
        id=clock.new_id(),
        model=catalog.canonical(asked.model),
        body_bytes=0,
        created=clock.now(),
        deadline=clock.now() + timeout_s,
        priority=own if asked.priority is None else asked.priority,
        tenant=asked.tenant,
        user=asked.user,
        token=asked.token,
        prompt_tokens=asked.tokens,
        output_tokens=asked.max_tokens,
    )
    return msgspec.structs.replace(event, plan=catalog.fit(event).plan)


def _may_use(spot: Place, asked: Asked) -> bool:
    tenant = spot.settings.tenants.get(asked.tenant)
    return tenant is None or any(fnmatchcase(asked.model, one) for one in tenant.models)


def _make_known(client: redis.Redis, spot: Place, tried: Trial) -> None:
    room = tried.room
    client.eval(REGISTER.text, 1, spot.names.limits, room.name, room.packed, *room.upstreams)


def _says(given: Verdict, tried: Trial, sight: Sight) -> str:
    match given:
        case Lease():
            key = f"by key {given.key}" if not given.key.endswith(":") else "without a key"
            return f"would go at once to {given.deployment} {key}"
        case Waiting():
            wait = f"{given.eta_s:.1f} s" if given.eta_s >= 0 else "nobody knows how long"
            return f"would wait {wait} for {_awaited(given, sight)}"
        case Refusal():
            failure = refusals.failure(given, tried.event)
            return f"would be refused: {failure.message} ({failure.status} {failure.code})"


def _awaited(given: Waiting, sight: Sight) -> str:
    """Say what the request would wait for."""
    judged = sight.judged
    if given.scope:
        kind, name = refusals.scope_of(given.scope)
        if judged.dimension == "queue":
            return f"the {judged.held} that wait for the limits of the {kind} {name}"
        unit = refusals.UNITS[judged.dimension].format(window=judged.window_ms / 1000)
        return f"the {kind} {name}, which may have {judged.limit} {unit}"
    if judged.waiting:
        return f"its turn: {judged.waiting} wait in its room, {judged.ahead} of them go before it"
    return f"capacity ({', '.join(f'{one.deployment}: {one.why}' for one in _choices(sight))})"


def _own_limits(sight: Sight) -> Iterator[OwnLimit]:
    stops = {stop.scope: stop for stop in sight.own}
    for use in sight.scopes:
        for quota in quotas_of(use):
            stop = stops.get(use.scope)
            if stop is None or not _concerns(stop, quota):
                stop = None
            yield OwnLimit(
                scope=quota.scope,
                name=quota.name,
                dimension=quota.dimension,
                limit=quota.limit,
                used=quota.limit - quota.remaining,
                remaining=quota.remaining,
                wait_s=_seconds(stop.ms) if stop else 0.0,
                why=_REASONS.get(stop.dimension, "") if stop else "",
            )


def _concerns(stop: Stop, quota: Quota) -> bool:
    """Tell whether it is this limit of the scope that stops the request."""
    match stop.dimension:
        case "queue":
            return True
        case "no_access":
            return quota.limit == 0
        case "heavy":
            return quota.dimension in ("tpm", "tpd") and quota.limit == stop.limit
    return quota.dimension == stop.dimension


def _choices(sight: Sight) -> Iterator[Choice]:
    for one in sight.candidates:
        yield Choice(
            deployment=one.deployment,
            key=one.key,
            tokens=one.tokens,
            wait_s=_seconds(one.ms),
            why=_REASONS.get(one.why, one.why),
        )


_REASONS: Final = {
    "rest": "rests, as its provider wishes",
    "rpm": "requests a minute",
    "tpm": "tokens a minute",
    "rpd": "requests a day (UTC)",
    "tpd": "tokens a day (UTC)",
    "concurrency": "requests at once",
    "heavy": "never: it admits fewer tokens",
    "no_access": "never: it is 0",
    "queue": "others wait for it",
    "held": "held for a large request",
    "dead": "its provider refuses the keys",
}


def _seconds(ms: float) -> float | None:
    return round(ms / 1000, 3) if ms >= 0 else None
