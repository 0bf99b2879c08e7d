"""The relations between settings: what one key may be depends on others.

Those of limits and tenants are in `check_limits`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import pairwise
from typing import Final

from pipeline.settings.check_limits import LIMIT_CHECKS
from pipeline.settings.decode import child, near
from pipeline.settings.models import BASE_URLS, ModelSettings, ProviderSettings
from pipeline.settings.named import Named
from pipeline.settings.schema import Sections

#: Kinds that answer nothing without a key at their own address.
_KEYED: Final = ("openai", "openrouter", "anthropic", "gemini")


def relations(settings: Sections, names: Named) -> list[str]:
    """Check all relations and give each fault with its path."""
    return [fault for check in _CHECKS for fault in check(settings, names)]


def _partitions(settings: Sections, _: Named) -> Iterator[str]:
    if settings.redis.partitions != 1:
        yield (
            "redis.partitions: more than one is not supported by this version yet, "
            f"got {settings.redis.partitions}; leave it at 1"
        )


def _exposure(settings: Sections, names: Named) -> Iterator[str]:
    gateway = settings.gateway
    if not (names.tenants or gateway.open or is_loopback(gateway.host)):
        yield (
            f"gateway.host: {names.quote(gateway.host)} can be reached by others, and no tenants "
            "are configured; configure tenants, or set gateway.open: true to let anyone in"
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _ports(settings: Sections, names: Named) -> Iterator[str]:
    simulated = any(provider.kind == "simulated" for provider in settings.providers.values())
    port = settings.simulate.port
    if (simulated or not names.providers) and port == settings.gateway.port:
        yield f"simulate.port: {port} is gateway.port too; they need one each"


def _ladders(settings: Sections, _: Named) -> Iterator[str]:
    yield from _ascending("ladder", settings.ladder)
    for name, model in settings.models.items():
        yield from _ascending(f"{child('models', name)}.ladder", model.ladder or ())


def _ascending(path: str, ladder: Sequence[int]) -> Iterator[str]:
    for index, (shorter, longer) in enumerate(pairwise(ladder), 1):
        if longer <= shorter:
            yield f"{path}[{index}]: expected more than the {shorter} before it, got {longer}"


def _providers(settings: Sections, _: Named) -> Iterator[str]:
    for name, provider in settings.providers.items():
        path = child("providers", name)
        yield from _address(path, provider)
        if len(set(provider.keys)) < len(provider.keys):
            yield f"{path}.keys: the same key is listed twice"


def _address(path: str, provider: ProviderSettings) -> Iterator[str]:
    home = BASE_URLS.get(provider.kind, "")
    if provider.kind in ("compatible", "azure") and not provider.base_url:
        yield f"{path}.base_url: missing; a provider of kind {provider.kind} needs one"
    at_home = provider.base_url.rstrip("/") in ("", home)
    if provider.kind in _KEYED and at_home and not provider.keys:
        yield f"{path}.keys: none is set, and {home} answers nothing without one"


def _deployments(settings: Sections, names: Named) -> Iterator[str]:
    for name, model in settings.models.items():
        path = child("models", name)
        for index, deployment in enumerate(model.deployments):
            wanted = deployment.provider
            if wanted not in names.providers:
                yield (
                    f"{path}.deployments[{index}].provider: no provider is named "
                    f"{names.quote(wanted)}{near(wanted, names.providers)}"
                )


def _fallbacks(settings: Sections, names: Named) -> Iterator[str]:
    circles: set[frozenset[str]] = set()
    for name, model in settings.models.items():
        path = child("models", name)
        for index, fallback in enumerate(model.fallbacks):
            if fallback not in names.models:
                suggestion = near(fallback, names.models)
                asked = names.quote(fallback)
                yield f"{path}.fallbacks[{index}]: no model is named {asked}{suggestion}"
        circle = _circle(settings.models, name)
        if circle and frozenset(circle) not in circles:
            circles.add(frozenset(circle))
            yield f"{path}.fallbacks: {' → '.join(circle)} goes in a circle"


def _circle(models: Mapping[str, ModelSettings], start: str) -> list[str]:
    """Find the shortest way from a model back to itself, or nothing."""
    ways = deque([[start]])
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        for following in models[way[-1]].fallbacks if way[-1] in models else ():
            if following == start:
                return [*way, start]
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []


def _emptiness(settings: Sections, _: Named) -> Iterator[str]:
    for name, model in settings.models.items():
        if not (model.deployments or model.fallbacks):
            yield f"{child('models', name)}.deployments: expected at least one, got none"


def _default_model(settings: Sections, names: Named) -> Iterator[str]:
    wanted = settings.gateway.default_model
    if not names.has_model(wanted, settings):
        there = ", ".join(sorted(names.models)[:10]) or "none"
        yield (
            f"gateway.default_model: no model is named {names.quote(wanted)}; "
            f"set it to one of those under models ({there})"
        )


_CHECKS: Final[tuple[Callable[[Sections, Named], Iterator[str]], ...]] = (
    _partitions,
    _exposure,
    _ports,
    _ladders,
    _providers,
    _deployments,
    _emptiness,
    _fallbacks,
    _default_model,
    *LIMIT_CHECKS,
)
