"""Name what is set and not acted on yet, so that no setting is a silent promise."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from pipeline.settings.decode import child
from pipeline.settings.schema import (
    Limits,
    ModelSettings,
    ProviderSettings,
    Settings,
    TelemetrySettings,
    TenantSettings,
)

_NOT_YET = "not acted on by this version yet"


def not_yet(settings: Settings) -> list[str]:
    """Give a line, with its path, for each setting away from its default without effect yet."""
    lines = list(settings.left_out)
    for name, provider in settings.providers.items():
        lines += _of_provider(name, provider, settings)
    for name, model in settings.models.items():
        lines += _of_model(child("models", name), model)
    if settings.ladder != Settings().ladder:
        lines.append(f"ladder: {_NOT_YET}")
    for name, tenant in settings.tenants.items():
        path = child("tenants", name)
        lines += _changed(path, tenant, TenantSettings(), ("weight", "priority"))
        lines += _changed(f"{path}.limits", tenant.limits, type(tenant.limits)())
        lines += [f"{child(f'{path}.users', user)}: {_NOT_YET}" for user in tenant.users]
    lines += _changed("telemetry", settings.telemetry, TelemetrySettings())
    return lines


def _of_provider(name: str, provider: ProviderSettings, settings: Settings) -> Iterator[str]:
    path = child("providers", name)
    yield from _changed(path, provider, ProviderSettings(kind=provider.kind), ("cooldown_s",))
    yield from _rates(f"{path}.limits", provider.limits)
    if provider.limits.concurrency is None:
        return
    if not provider.shares_limits:
        yield f"{path}.limits.concurrency: for each of several keys it is {_NOT_YET}"
    else:
        yield from _counted_apart(path, name, settings)


def _counted_apart(path: str, name: str, settings: Settings) -> Iterator[str]:
    """Name models that are listed with different limits: each listing is counted by itself."""
    listings = {
        (deployment.model, deployment.weight, deployment.limits)
        for model in settings.models.values()
        for deployment in model.deployments
        if deployment.provider == name
    }
    for model, times in Counter(listing[0] for listing in listings).items():
        if times > 1:
            yield (
                f"{path}.limits.concurrency: {model} is listed in {times} ways and each is "
                f"limited by itself; over all of them it is {_NOT_YET}"
            )


def _of_model(path: str, model: ModelSettings) -> Iterator[str]:
    yield from _changed(path, model, ModelSettings(), ("strategy", "on_limit"))
    for index, deployment in enumerate(model.deployments):
        if deployment.weight != 1:
            yield f"{path}.deployments[{index}].weight: {_NOT_YET}"
        yield from _rates(f"{path}.deployments[{index}].limits", deployment.limits)


def _rates(path: str, limits: Limits) -> Iterator[str]:
    yield from _changed(path, limits, Limits(), ("rpm", "tpm", "rpd", "tpd"))


def _changed(
    path: str, given: msgspec.Struct, default: msgspec.Struct, keys: tuple[str, ...] = ()
) -> Iterator[str]:
    """Name the keys, all by default, in which a section differs from its default."""
    for key in keys or given.__struct_fields__:
        if getattr(given, key) != getattr(default, key):
            yield f"{path}.{key}: {_NOT_YET}"
