"""Tenants and their limits as `sluice check` tells them: a token is its id."""

from collections.abc import Iterator, Mapping

from pipeline.settings.load import TenantLimits, TenantSettings


def lines(name: str, tenant: TenantSettings) -> Iterator[str]:
    """Write a tenant, what holds over all of it, and what holds for a part of it."""
    yield f"tenant {name}: {'; '.join(_facts(tenant))}"
    yield from _parts("user", tenant.users)
    yield from _parts("token", tenant.token_limits)
    yield from _parts("model", tenant.model_limits)


def _facts(tenant: TenantSettings) -> Iterator[str]:
    ids = ", ".join(token.id for token in tenant.tokens)
    yield f"tokens {ids}" if ids else "no tokens, so that nobody can be it"
    if tenant.models != ("*",):
        yield f"models {', '.join(tenant.models) or 'none'}"
    if tenant.weight != 1:
        yield f"weight {tenant.weight}"
    if tenant.priority:
        yield f"priority {tenant.priority}"
    yield _written(tenant.limits)


def _parts(kind: str, parts: Mapping[str, TenantLimits]) -> Iterator[str]:
    for name, limits in parts.items():
        shown = f"each other {kind}" if name == "default" else f"{kind} {name}"
        yield f"  {shown}: {_written(limits)}"


def _written(limits: TenantLimits) -> str:
    counts = {
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "rpd": limits.rpd,
        "tpd": limits.tpd,
        "concurrency": limits.concurrency,
    }
    written = [f"{kind} {count}" for kind, count in counts.items() if count is not None]
    if limits.window is not None:
        written.append(f"{limits.window.requests} requests in {limits.window.seconds:g} s")
    return ", ".join(written) or "no limits"
