"""What of a configuration only a restart brings to the workers, as one hash for each entry.

Workers publish it beside their limits, so that `sluice reload` can tell what it cannot change.
"""

import hashlib
from collections.abc import Iterator, Mapping

import msgspec

from pipeline.catalog import Catalog
from pipeline.limits.caps import reserved
from pipeline.settings.load import Limits, Secret, Settings, TenantLimits

_NO_LIMITS = Limits()


def fingerprints(settings: Settings, catalog: Catalog) -> dict[str, str]:
    """Hash each provider, model and tenant without its limits, and the reserved shares."""
    return {name: _hash(entry) for name, entry in _entries(settings, catalog)}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Name the entries that are not the same, and what became of them."""
    found = [f"{name} is new" for name in after if name not in before]
    found += [f"{name} is gone" for name in before if name not in after]
    return sorted(
        found
        + [f"{name} differs" for name in after if before.get(name, after[name]) != after[name]]
    )


def _entries(settings: Settings, catalog: Catalog) -> Iterator[tuple[str, object]]:
    yield "gate.reserve", reserved(settings)
    for name, provider in settings.providers.items():
        yield f"providers.{name}", msgspec.structs.replace(provider, limits=_NO_LIMITS)
    for name, model in settings.models.items():
        bare = [msgspec.structs.replace(one, limits=_NO_LIMITS) for one in model.deployments]
        # Limits that begin to differ between models make another deployment of one.
        plan = catalog.candidates(name)
        yield f"models.{name}", (msgspec.structs.replace(model, deployments=tuple(bare)), plan)
    for name, tenant in settings.tenants.items():
        bare_tenant = msgspec.structs.replace(
            tenant, limits=TenantLimits(), users={}, token_limits={}, model_limits={}
        )
        yield f"tenants.{name}", bare_tenant


def _hash(entry: object) -> str:
    form = msgspec.json.encode(entry, enc_hook=_hidden, order="deterministic")
    return hashlib.sha256(form).hexdigest()[:12]


def _hidden(secret: object) -> str:
    if not isinstance(secret, Secret):
        raise TypeError(f"the settings hold a {type(secret).__name__}, which has no JSON form")
    return hashlib.sha256(secret.reveal().encode()).hexdigest()
