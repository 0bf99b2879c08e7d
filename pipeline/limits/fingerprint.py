"""A configuration as one hash for each of its entries, without its limits.

Workers publish it beside their limits, so that `sluice reload` can tell what differs.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pipeline.catalog import Catalog
from pipeline.settings.digest import digest
from pipeline.settings.fixed import fixed, live
from pipeline.settings.load import Limits, Settings, TenantLimits

_NO_LIMITS = Limits()

#: Told one by one; the others of the configuration are told by section and key.
_NAMED: Final = ("providers", "models", "tenants")
#: Of these the command line changes some for a process alone.
_OPTIONS: Final = ("redis.", "gateway.host", "gateway.port", ".processes")


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """What one configuration has and another has not, by path."""

    added: list[str] = []
    removed: list[str] = []
    changed: list[str] = []
    #: What differs and takes a restart.
    restart: list[str] = []


def fingerprints(settings: Settings, catalog: Catalog) -> dict[str, str]:
    """Hash each entry without its limits."""
    return {name: digest(entry) for name, entry in _entries(settings, catalog)}


def after_reload(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Give the hashes of what holds after a reload: what takes a restart is as before."""
    as_before = {name: hashed for name, hashed in before.items() if _is_fixed(name)}
    return {**after, **as_before}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Differences:
    """Name the entries that are not the same, and what became of them."""
    both = before.keys() & after.keys()
    changed = sorted(name for name in both if before[name] != after[name])
    return Differences(
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=[name for name in changed if not _is_fixed(name)],
        restart=[name.removeprefix(_FIXED) for name in changed if _is_fixed(name)],
    )


_FIXED: Final = "fixed "


def _is_fixed(name: str) -> bool:
    return name.startswith(_FIXED)


def _entries(settings: Settings, catalog: Catalog) -> Iterator[tuple[str, object]]:
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
    for name, section in live(settings).items():
        if name not in _NAMED:
            yield from _of_section(name, section)
    for path, value in fixed(settings).items():
        if not path.startswith(_OPTIONS) and not path.endswith(_OPTIONS):
            yield f"{_FIXED}{path}", value


def _of_section(name: str, section: object) -> Iterator[tuple[str, object]]:
    if isinstance(section, msgspec.Struct):
        section = {key: getattr(section, key) for key in section.__struct_fields__}
    if not isinstance(section, dict):
        yield name, section
        return
    for key, value in section.items():
        yield f"{name}.{key}", value
