"""The relations between limits, and between tenants: shares, bursts, and what limits name."""

from collections.abc import Callable, Iterator
from typing import Final

from pipeline.settings.decode import child, near
from pipeline.settings.models import Limits
from pipeline.settings.named import Named
from pipeline.settings.schema import Sections
from pipeline.settings.secret import ID_DIGITS

#: In a tenant's limits, this stands for each that is not named.
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
_DEFAULT: Final = "default"


def _reserve(settings: Sections, _: Named) -> Iterator[str]:
    reserve = settings.gate.reserve
    # 0.7 + 0.2 + 0.1 may come out a little below 1 in floating point.
    total = round(reserve.high + reserve.default + reserve.low, 9)
    if total >= 1:
        yield (
            "gate.reserve: high, default and low together must be less than 1, so that something "
            f"is left for everyone, got {total:g}"
        )


def _bursts(settings: Sections, names: Named) -> Iterator[str]:
    for path, limits in _limits(settings):
        if limits.burst is not None and limits.rpm is None and not names.is_faulty(f"{path}.rpm"):
            yield f"{path}.burst: it is a part of rpm, and {path}.rpm is not set"


def _limits(settings: Sections) -> Iterator[tuple[str, Limits]]:
    for name, provider in settings.providers.items():
        yield f"{child('providers', name)}.limits", provider.limits
    for name, model in settings.models.items():
        for index, deployment in enumerate(model.deployments):
            yield f"{child('models', name)}.deployments[{index}].limits", deployment.limits


def _tokens(settings: Sections, _: Named) -> Iterator[str]:
    owners: dict[object, str] = {}
    for name, tenant in settings.tenants.items():
        for token in tenant.tokens:
            if token in owners:
                yield f"{child('tenants', name)}.tokens: one of them is {owners[token]}'s too"
            owners[token] = name


def _token_limits(settings: Sections, names: Named) -> Iterator[str]:
    for name, tenant in settings.tenants.items():
        path = child("tenants", name)
        if names.is_faulty(f"{path}.tokens"):
            continue
        ids = sorted({token.id for token in tenant.tokens})
        for wanted in tenant.token_limits:
            if wanted not in (_DEFAULT, *ids):
                yield f"{child(f'{path}.token_limits', wanted)}: {_no_token(wanted, ids)}"


def _no_token(wanted: str, ids: list[str]) -> str:
    # Whoever wrote the whole hash meant its beginning.
    meant = near(wanted.removeprefix("sha256:")[:ID_DIGITS], ids)
    there = ", ".join(ids[:10]) or "none"
    return (
        f"expected {_DEFAULT}, or the first {ID_DIGITS} hex digits of the hash of one of the "
        f"tenant's tokens ({there}){meant}"
    )


def _model_limits(settings: Sections, names: Named) -> Iterator[str]:
    for name, tenant in settings.tenants.items():
        path = f"{child('tenants', name)}.model_limits"
        for wanted in tenant.model_limits:
            asked, ours = names.quote(wanted), names.model_of(wanted, settings)
            if wanted != _DEFAULT and not names.has_model(wanted, settings):
                meant = near(wanted, names.models)
                yield f"{child(path, wanted)}: no model is named {asked}{meant}"
            elif ours and ours != wanted:
                yield f"{child(path, wanted)}: {asked} is an alias; limit {names.quote(ours)}"


def _user_header(settings: Sections, _: Named) -> Iterator[str]:
    header = settings.gateway.user_header
    if header.lower() in _SECRET_HEADERS:
        yield f"gateway.user_header: {header} holds a secret, which would become the user's name"


LIMIT_CHECKS: Final[tuple[Callable[[Sections, Named], Iterator[str]], ...]] = (
    _reserve,
    _bursts,
    _tokens,
    _token_limits,
    _model_limits,
    _user_header,
)
