"""The configuration: one YAML file, the environment and the command line, checked whole.

`load` is the way in; later sources win: provider variables, file, `SLUICE_…` variables, command
line. The structs are in `schema`; the other files are the steps of loading.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline.errors import SettingsError
from pipeline.settings import env as environment
from pipeline.settings.check import is_loopback, relations
from pipeline.settings.decode import Text, decode
from pipeline.settings.differences import Differences, completed
from pipeline.settings.env_providers import providers
from pipeline.settings.env_telemetry import telemetry
from pipeline.settings.file import Tree, read
from pipeline.settings.models import (
    BASE_URLS,
    BreakerSettings,
    DeploymentSettings,
    Kind,
    Limits,
    ModelSettings,
    Price,
    ProviderSettings,
    Strategy,
    Timeouts,
)
from pipeline.settings.named import Named, named
from pipeline.settings.schema import (
    DEFAULT_REDIS_URL,
    AdminSettings,
    DurabilitySettings,
    GateSettings,
    GatewaySettings,
    IdempotencySettings,
    RedisSettings,
    ReserveSettings,
    RetentionSettings,
    RetrySettings,
    Sections,
    Settings,
    SimulateSettings,
    TelemetrySettings,
    TenantLimits,
    TenantSettings,
    Window,
    WorkersSettings,
)
from pipeline.settings.secret import ApiKey, RedisUrl, Secret

__all__ = [
    "DEFAULT_REDIS_URL",
    "AdminSettings",
    "ApiKey",
    "BreakerSettings",
    "DeploymentSettings",
    "Differences",
    "DurabilitySettings",
    "GateSettings",
    "GatewaySettings",
    "IdempotencySettings",
    "Kind",
    "Limits",
    "ModelSettings",
    "Price",
    "ProviderSettings",
    "RedisSettings",
    "RedisUrl",
    "ReserveSettings",
    "RetentionSettings",
    "RetrySettings",
    "Secret",
    "Settings",
    "SettingsError",
    "SimulateSettings",
    "Strategy",
    "TelemetrySettings",
    "TenantLimits",
    "TenantSettings",
    "Timeouts",
    "Window",
    "WorkersSettings",
    "is_loopback",
    "load",
]


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """Load the settings from a file, or from `SLUICE_CONFIG`, `./sluice.yaml` or none.

    `overrides` are by dotted path, as in `{"gateway.port": "9000"}`. Raises `SettingsError` with
    every fault.
    """
    env = os.environ if environ is None else environ
    path = path or _default_path(env)
    source = "no file" if path is None else str(path)
    tree, faults = ({}, []) if path is None else read(path, env)
    if path is not None and faults and not tree:
        raise SettingsError(faults, source)
    tree, left_out = _with_environment(tree, env)
    tree, unmet = _with_telemetry(tree, env)
    variables, unknown = environment.variables(env)
    options = [(key, Text(text, "the command line")) for key, text in (overrides or {}).items()]
    for key, text in [*variables, *options]:
        environment.put(tree, key, text)
    tree = completed(tree)
    sections, misfits = decode(tree, Sections)
    faults += [*unmet, *unknown, *misfits]
    if sections is not None:
        faults += _related(sections, named(tree, faults))
    if faults or sections is None:
        raise SettingsError(faults, "the configuration" if path is None else source)
    return _completed(sections, source, tuple(left_out))


def _related(sections: Sections, names: Named) -> list[str]:
    """Check the relations, except where a fault is told already: one is the other's cause."""
    faults = relations(sections, names)
    return [fault for fault in faults if not names.is_faulty(fault.partition(": ")[0])]


def _default_path(env: Mapping[str, str]) -> Path | None:
    if env.get("SLUICE_CONFIG"):
        return Path(env["SLUICE_CONFIG"])
    here = Path("sluice.yaml")
    return here if here.exists() else None


def _with_environment(tree: Tree, env: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Add what provider variables configure, unless the file has providers of its own."""
    if tree.get("providers"):
        return tree, []
    given, left_out = providers(env)
    models, own = given["models"], tree.get("models")
    if isinstance(models, dict) and isinstance(own, dict):
        given["models"] = {**models, **own}
    elif own is not None:
        given["models"] = own
    rest = {key: value for key, value in tree.items() if key not in ("providers", "models")}
    return {**given, **rest}, left_out


def _with_telemetry(tree: Tree, env: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Add what OpenTelemetry's variables configure and the file leaves open."""
    given, faults = telemetry(env)
    own = tree.get("telemetry") or {}
    if not given or not isinstance(own, dict):
        return tree, faults
    said = {key: value for key, value in own.items() if value != ""}
    return {**tree, "telemetry": {**given, **said}}, faults


def _completed(sections: Sections, source: str, left_out: tuple[str, ...]) -> Settings:
    """Fill in the addresses that a provider's kind tells, and write names as they are compared."""
    values = {name: getattr(sections, name) for name in Sections.__struct_fields__}
    addresses = {**BASE_URLS, "simulated": sections.simulate.base_url}
    values["providers"] = {
        name: msgspec.structs.replace(
            provider, base_url=(provider.base_url or addresses[provider.kind]).rstrip("/")
        )
        for name, provider in sections.providers.items()
    }
    header = sections.gateway.user_header.lower()
    values["gateway"] = msgspec.structs.replace(sections.gateway, user_header=header)
    return Settings(**values, source=source, left_out=left_out)
