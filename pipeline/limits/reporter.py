"""Fills the report of the limits: says what to look at, and puts what was seen into words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from pipeline.catalog import Catalog, key_id
from pipeline.limits.caps import Cap, account_scope, deployment_cap, key_scope
from pipeline.limits.plans import Plans
from pipeline.limits.refusals import scope_of
from pipeline.limits.report import (
    NOTHING,
    AccountReport,
    DeploymentReport,
    KeyReport,
    LimitsReport,
    Part,
    RoomReport,
    TenantReport,
    Use,
)
from pipeline.limits.view import (
    DeadKey,
    HealthUse,
    RoomUse,
    ScopeUse,
    Sight,
    Triple,
    argument,
    our_scopes,
    their_scopes,
)
from pipeline.names import LANES
from pipeline.settings.load import Settings

#: Scopes in one look at the most: a bound on its time in Redis.
_SCOPES_PER_LOOK: Final = 50

#: The kinds of our limits within a tenant: of users, tokens and models.
_PARTS: Final = ("u", "x", "m")


class Reporter:
    """Makes reports under one configuration."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._ours = [*our_scopes(settings), *_defaults(settings)]
        self._theirs = their_scopes(settings, catalog)
        self._models = _models_of_rooms(settings, catalog)

    def questions(self, tenant: str = "") -> list[bytes]:
        """Write the looks that a report needs: of one tenant and the rooms, or of everything."""
        if tenant:
            wanted = [triple for triple in self._ours if _owner(triple[0]) == tenant]
        else:
            wanted = [*self._ours, *self._theirs]
        cuts = range(0, len(wanted), _SCOPES_PER_LOOK) or [0]
        return [
            argument(wanted[cut : cut + _SCOPES_PER_LOOK], rooms=cut == 0) for cut in cuts
        ]  # fmt: skip

    def report(self, sights: Sequence[Sight], tenant: str = "") -> LimitsReport:
        """Put what the looks found into words; for a tenant without providers and keys."""
        uses = {use.scope: use for sight in sights for use in sight.scopes}
        rooms = [self._room(room, of_tenant=bool(tenant)) for room in sights[0].rooms]
        if tenant:
            return LimitsReport(tenants=[self._tenant(tenant, uses)], rooms=rooms)
        return LimitsReport(
            tenants=[self._tenant(name, uses) for name in self._settings.tenants],
            rooms=rooms,
            deployments=[_deployment(one.id, uses) for one in self._catalog.deployments()],
            accounts=list(self._accounts(uses)),
            keys=list(self._keys(uses, sights[0])),
        )

    def _tenant(self, name: str, uses: Mapping[str, ScopeUse]) -> TenantReport:
        users, tokens, models = (self._parts(f"{kind}:{name}", uses) for kind in _PARTS)
        return TenantReport(
            name=name, use=_use(uses.get(f"t:{name}")), users=users, tokens=tokens, models=models
        )

    def _parts(self, owner: str, uses: Mapping[str, ScopeUse]) -> list[Part]:
        """List those of one kind that have limits; nothing is counted of the others."""
        named = [
            (_name(scope), use)
            for scope, use in uses.items()
            if f"{scope}:".startswith(f"{owner}:")
        ]
        parts = [Part(name=name, use=_use(use)) for name, use in named]
        return [part for part in parts if part.use.limits]

    def _room(self, room: RoomUse, *, of_tenant: bool) -> RoomReport:
        return RoomReport(
            models=self._models.get(room.name) or self._any_model(room),
            deployments=[] if of_tenant else list(room.deployments),
            waiting=dict(zip(LANES, room.waiting, strict=True)),
            oldest_s=_seconds(room.oldest_ms),
            pace_s=_seconds(room.pace_ms) or None,
        )

    def _any_model(self, room: RoomUse) -> list[str]:
        """Name a model that is in no list: its name is that of its only deployment."""
        return [
            one for one in room.deployments if len(room.deployments) == 1 and one in self._catalog
        ]

    def _accounts(self, uses: Mapping[str, ScopeUse]) -> Iterator[AccountReport]:
        for name, provider in self._settings.providers.items():
            if provider.shares_limits:
                for model in self._served(name):
                    use = _use(uses.get(account_scope(name, model)))
                    yield AccountReport(name=f"{name}/{model}", use=use)

    def _keys(self, uses: Mapping[str, ScopeUse], sight: Sight) -> Iterator[KeyReport]:
        dead = {one.key: one for one in sight.dead}
        for name, provider in self._settings.providers.items():
            shown = {key_id(name, key): key.masked() for key in provider.keys}
            models = self._served(name)
            for key in self._catalog.key_ids(name):
                scopes = {
                    model: account_scope(name, model)
                    if provider.shares_limits
                    else key_scope(key, model)
                    for model in models
                }
                found = {model: _use(uses.get(scope)) for model, scope in scopes.items()}
                report = _key(key, found, dead.get(key), sight.wall)
                kept = {} if provider.shares_limits else found
                yield msgspec.structs.replace(report, key=shown.get(key, ""), models=kept)

    def _served(self, provider: str) -> list[str]:
        ours = [one for one in self._catalog.deployments() if one.provider == provider]
        return list(dict.fromkeys(one.model for one in ours))


def _name(scope: str) -> str:
    return ":".join(scope.split(":")[2:]) or "default"


def _owner(scope: str) -> str:
    return scope.split(":", 2)[1]


def _defaults(settings: Settings) -> Iterator[Triple]:
    """List the limits of each that is not named: scopes that nobody uses, only to be read."""
    for name, tenant in settings.tenants.items():
        kinds = zip(_PARTS, (tenant.users, tenant.token_limits, tenant.model_limits), strict=True)
        for kind, members in kinds:
            if "default" in members:
                scope = f"{kind}:{name}"
                yield scope, scope, scope


def _models_of_rooms(settings: Settings, catalog: Catalog) -> dict[str, list[str]]:
    plans = Plans(settings, catalog)
    found: dict[str, list[str]] = {}
    for model in settings.models:
        found.setdefault(plans.room(catalog.candidates(model)).name, []).append(model)
    return found


def _deployment(deployment: str, uses: Mapping[str, ScopeUse]) -> DeploymentReport:
    seen = uses.get(deployment_cap(deployment))
    use = _use(seen)
    most = use.limit("concurrency")
    health = seen.health if seen else HealthUse()
    is_known = health.age_ms >= 0
    return DeploymentReport(
        name=deployment,
        state="closed" if health.open_ms < 0 else "open" if health.open_ms else "trial",
        open_s=_seconds(health.open_ms),
        failures=health.failed,
        trips=health.trips,
        first_token_s=_seconds(health.first_ms) if is_known else None,
        first_token_p95_s=_seconds(health.first_p95_ms) if is_known else None,
        token_s=round(health.token_ms / 1000, 6) if health.token_ms else None,
        measured_s=_seconds(health.age_ms) if is_known else None,
        occupancy=round(use.used.get("concurrency", 0) / most, 3) if most else None,
        use=use,
    )


def _key(name: str, uses: Mapping[str, Use], dead: DeadKey | None, wall: float) -> KeyReport:
    rests_s = max((use.rests_s for use in uses.values()), default=0.0)
    return KeyReport(
        name=name,
        key="",
        state="dead" if dead else "resting" if rests_s else "ok",
        rests_s=rests_s,
        resting_until=_seconds(wall) + rests_s if rests_s else 0.0,
        dead_since=_seconds(dead.since_ms) if dead else 0.0,
        why=dead.why if dead else "",
        probe_s=_seconds(dead.probe_ms) if dead else 0.0,
    )


def _use(seen: ScopeUse | None) -> Use:
    if seen is None:
        return NOTHING
    cap = seen.cap
    limits = {name: limit for name, limit in _by_dimension(cap).items() if limit >= 0}
    found = {"rpm": seen.found_rpm, "tpm": seen.found_tpm, "concurrency": seen.found_concurrency}
    return Use(
        limits=limits,
        found={name: int(limit) for name, limit in found.items() if limit >= 0},
        used=_used(seen, limits),
        window_s=max(0, cap.window_ms) / 1000,
        held=seen.held,
        held_s=_seconds(seen.oldest_ms),
        rests_s=_seconds(seen.rests_ms),
        wait_s=_seconds(seen.wait_ms) if seen.wait_ms >= 0 else None,
    )


def _by_dimension(cap: Cap) -> dict[str, int]:
    return {
        "rpm": cap.rpm,
        "tpm": cap.tpm,
        "rpd": cap.rpd,
        "tpd": cap.tpd,
        "concurrency": cap.concurrency,
        "window": cap.window,
    }


def _used(seen: ScopeUse, limits: Mapping[str, int]) -> dict[str, int]:
    used = {
        "rpm": seen.minute_requests,
        "tpm": int(seen.minute_tokens),
        "rpd": seen.day_requests,
        "tpd": int(seen.day_tokens),
        "concurrency": seen.leases,
    }
    if "window" in limits:
        used["window"] = seen.window_requests
    if scope_of(seen.scope)[0]:
        for name in _uncounted(limits):
            del used[name]
    return used


def _uncounted(limits: Mapping[str, int]) -> set[str]:
    """Name what is not counted of a scope of ours, as no limit needs it."""
    if not limits:
        return {"rpm", "tpm", "rpd", "tpd", "concurrency"}
    found = set() if "rpm" in limits or "window" in limits else {"rpm"}
    return found if "tpm" in limits else found | {"tpm"}


def _seconds(ms: float) -> float:
    return round(max(0.0, ms) / 1000, 3)
