"""The relations between settings: what one key may be depends on others.

Those of limits and tenants are in `check_limits`, those of models in `check_models`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import pairwise
from typing import Final

from pipeline.settings.check_limits import LIMIT_CHECKS
from pipeline.settings.check_models import MODEL_CHECKS
from pipeline.settings.decode import child
from pipeline.settings.differences import Differences, of_kind
from pipeline.settings.models import BASE_URLS, Kind, ProviderSettings
from pipeline.settings.named import Named
from pipeline.settings.schema import Sections

#: Kinds that answer nothing without a key at their own address.
_KEYED: Final = ("openai", "openrouter", "anthropic", "gemini", "azure")
#: Headers that may hold a key, or a token in its stead.
_KEY_HEADERS: Final = frozenset({"api-key", "authorization", "x-api-key", "x-goog-api-key"})
#: Where to find a base URL.
_HOW: Final[Mapping[Kind, str]] = {
    "azure": ", such as https://NAME.openai.azure.com",
    "compatible": ", or `differs: {like: …}` with a provider that is known",
}


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
        yield from _form(path, provider)
        if len(set(provider.keys)) < len(provider.keys):
            yield f"{path}.keys: the same key is listed twice"


def _address(path: str, provider: ProviderSettings) -> Iterator[str]:
    kind, home = provider.kind, BASE_URLS.get(provider.kind, "")
    if kind in ("compatible", "azure") and not provider.base_url:
        yield f"{path}.base_url: missing; a provider of kind {kind} needs one{_HOW.get(kind, '')}"
    at_home = kind == "azure" or provider.base_url.rstrip("/") in ("", home)
    if kind in _KEYED and at_home and not (provider.keys or _brings_key(provider)):
        yield f"{path}.keys: none is set, and {home or 'Azure'} answers nothing without one"


def _brings_key(provider: ProviderSettings) -> bool:
    """Tell whether the configured headers hold what a key would."""
    return any(name.lower() in _KEY_HEADERS for name in provider.headers)


def _form(path: str, provider: ProviderSettings) -> Iterator[str]:
    """Check what only one kind knows, so that it is not a silent promise at another."""
    if provider.api_version and provider.kind != "azure":
        yield f"{path}.api_version: only providers of kind azure have one, not {provider.kind}"
    if provider.kind != "compatible":
        # A file that was written out whole holds OpenAI's own form, which is no difference.
        if provider.differs not in (of_kind(provider.kind), Differences()):
            yield (
                f"{path}.differs: only providers of kind compatible differ, not {provider.kind}; "
                "name that kind, and the base_url"
            )
        return
    differs = provider.differs
    for name in ("model", "messages", "stream", "input"):
        if name in differs.rename or name in (*differs.refuse, *differs.drop):
            yield f"{path}.differs: {name} is in every request, and stays as it is"
    for name in sorted(set(differs.refuse) & set(differs.drop)):
        yield f"{path}.differs.drop: {name} is refused too; it can be one of them"


def _default_models(settings: Sections, names: Named) -> Iterator[str]:
    there = ", ".join(sorted(names.models)[:10]) or "none"
    gateway = settings.gateway
    for key in ("default_model", "default_embedding_model"):
        wanted = getattr(gateway, key)
        if not names.has_model(wanted, settings) and (wanted or key == "default_model"):
            yield (
                f"gateway.{key}: no model is named {names.quote(wanted)}; "
                f"set it to one of those under models ({there})"
            )


_CHECKS: Final[tuple[Callable[[Sections, Named], Iterator[str]], ...]] = (
    _partitions,
    _exposure,
    _ports,
    _ladders,
    _providers,
    *MODEL_CHECKS,
    _default_models,
    *LIMIT_CHECKS,
)
