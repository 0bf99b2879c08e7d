"""What is limited, and how much: the names of scopes and limits, and their publication in Redis.

A scope is what a limit holds for: a deployment, a provider's account or key, a tenant, one of its
users, tokens or models. The limits themselves are in Redis, so that all processes go by the same
ones, and a change takes effect with the next admission.
"""

import math
from collections.abc import Iterator
from typing import Final

import msgspec

from pipeline.catalog import Catalog
from pipeline.event import Event
from pipeline.names import LANES, Lane, Names
from pipeline.settings.load import Limits, Settings, TenantLimits

#: A class's number in the scripts: 1 for high.
CLASSES: Final = {lane: number for number, lane in enumerate(LANES, 1)}

#: Under this name in the hash of limits is what the waiting rooms go by.
GATE: Final = "gate"
#: Under this name is what else of the configuration the workers go by (`fingerprint`).
VERSION: Final = "version"


class Cap(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A limit as the scripts read it; -1: none, in a tenant's 0: no access."""

    rpm: int = -1
    burst: int = -1
    tpm: int = -1
    rpd: int = -1
    tpd: int = -1
    concurrency: int = -1
    window: int = -1
    window_ms: int = -1


UNLIMITED: Final = Cap()


def deployment_cap(deployment: str) -> str:
    """Name a deployment's own limits, and their scope."""
    return f"d:{deployment}"


def provider_cap(provider: str) -> str:
    """Name a provider's limits; they hold in each of its accounts' or keys' scopes."""
    return f"p:{provider}"


def account_scope(provider: str, model: str) -> str:
    """Name what all keys of a provider use of a model."""
    return f"a:{provider}/{model}"


def key_scope(key_id: str, model: str) -> str:
    """Name what one key uses of a model."""
    return f"k:{key_id}/{model}"


def own_limits(event: Event) -> list[tuple[str, str, str]]:
    """List our limits on an event: scope, name of its limit, name of the limit by default."""
    tenant = event.tenant
    listed = [(f"t:{tenant}", f"t:{tenant}", f"t:{tenant}")]
    parts = [("u", event.user), ("m", event.model)]
    if event.token:
        parts.append(("x", event.token))
    listed += [(f"{kind}:{tenant}:{name}", f"{kind}:{tenant}:{name}", f"{kind}:{tenant}")
               for kind, name in parts]  # fmt: skip
    return listed


def caps_of(settings: Settings, catalog: Catalog) -> dict[str, Cap]:
    """List all limits of a configuration by their names."""
    caps: dict[str, Cap] = {}
    for name, cap in _theirs(settings, catalog):
        if cap == UNLIMITED:
            continue
        caps[name] = cap
        for lane, share in reserved(settings).items():
            caps[f"{name}!{CLASSES[lane]}"] = _without(cap, share)
    return caps | dict(_ours(settings))


def reserved(settings: Settings) -> dict[Lane, float]:
    """List the classes that keep a share of what providers allow to themselves."""
    reserve = settings.gate.reserve
    shares: dict[Lane, float] = {
        "high": reserve.high, "default": reserve.default, "low": reserve.low,
    }  # fmt: skip
    return {lane: share for lane, share in shares.items() if share > 0}


def published(settings: Settings, catalog: Catalog) -> dict[str, bytes]:
    """Give the whole hash of limits of a configuration."""
    gate = settings.gate
    rules = [int(gate.aging_s * 1000), gate.max_queue_size, int(gate.probe_s * 1000)]
    fields = {name: msgspec.msgpack.encode(cap) for name, cap in caps_of(settings, catalog).items()}
    return fields | {GATE: msgspec.msgpack.encode(rules)}


def caps_key(names: Names) -> str:
    """Name the hash of limits."""
    return f"{names.limits}:caps"


def _theirs(settings: Settings, catalog: Catalog) -> Iterator[tuple[str, Cap]]:
    for name, provider in settings.providers.items():
        yield provider_cap(name), _cap(provider.limits)
    for deployment in catalog.deployments():
        yield deployment_cap(deployment.id), _cap(deployment.limits)


def _ours(settings: Settings) -> Iterator[tuple[str, Cap]]:
    for name, tenant in settings.tenants.items():
        yield f"t:{name}", _cap(tenant.limits)
        kinds = {"u": tenant.users, "x": tenant.token_limits, "m": tenant.model_limits}
        for kind, members in kinds.items():
            for member, limits in members.items():
                suffix = "" if member == "default" else f":{member}"
                yield f"{kind}:{name}{suffix}", _cap(limits)


def _cap(limits: Limits | TenantLimits) -> Cap:
    def number(value: int | None) -> int:
        return -1 if value is None else value

    common = {
        "rpm": number(limits.rpm), "tpm": number(limits.tpm), "rpd": number(limits.rpd),
        "tpd": number(limits.tpd), "concurrency": number(limits.concurrency),
    }  # fmt: skip
    if isinstance(limits, Limits):
        return Cap(**common, burst=number(limits.burst))
    if limits.window is None:
        return Cap(**common)
    return Cap(
        **common, window=limits.window.requests, window_ms=math.ceil(limits.window.seconds * 1000)
    )


def _without(cap: Cap, share: float) -> Cap:
    """Give what is left of a limit when a share of it is another's."""
    # The epsilon keeps 0.7 of 10 from being 6.
    left = {
        field: max(1, math.floor(value * (1 - share) + 1e-9)) if value > 0 else value
        for field in ("rpm", "burst", "tpm", "rpd", "tpd", "concurrency")
        if (value := getattr(cap, field)) is not None
    }
    return msgspec.structs.replace(cap, **left)
