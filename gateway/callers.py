"""Who asks: the bearer token's tenant and what it may see, an operator, or this very machine."""

import hmac
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.exchange import Exchange
from pipeline.errors import BadToken, Forbidden
from pipeline.settings.load import Settings, TenantSettings, is_loopback
from pipeline.settings.secret import token_hash

#: Headers by which a proxy on this machine tells that it asks for another one.
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for")


class Caller(msgspec.Struct, frozen=True):
    """Who asks; without tenants, nobody in particular."""

    tenant: str = ""
    #: Which of the tenant's tokens was shown: the first 8 hex digits of its hash.
    token: str = ""


NOBODY: Final = Caller()

_GONE: Final = TenantSettings(models=())


class Callers:
    """The tenants of one configuration; without any, everyone is nobody and may do all."""

    def __init__(self, tenants: Mapping[str, TenantSettings]) -> None:
        self._tenants = tenants
        self._by_hash = {
            token.reveal(): Caller(name, token.id)
            for name, tenant in tenants.items()
            for token in tenant.tokens
        }

    def caller_of(self, exchange: Exchange) -> Caller:
        """Tell whose token the request carries; nobody's when no tenants are configured.

        Raises `BadToken`.
        """
        if not self._tenants:
            return NOBODY
        return self._by_hash[_shown(exchange, self._by_hash)]

    def tenant_of(self, exchange: Exchange) -> str:
        """Name the tenant whose token the request carries. Raises `BadToken`."""
        return self.caller_of(exchange).tenant

    def may_use(self, tenant: str, model: str) -> bool:
        """Tell whether a tenant may ask for a model; one that was taken out since may for none."""
        known = self._tenants.get(tenant, _GONE)
        return not tenant or any(fnmatchcase(model, pattern) for pattern in known.models)

    def may_see(self, tenant: str, owner: str) -> bool:
        """Tell whether a tenant may see what belongs to another one."""
        return not self._tenants or tenant == owner

    def priority_of(self, tenant: str) -> int:
        """Give the priority of a tenant's requests that ask for none."""
        return self._tenants.get(tenant, _GONE).priority


class Operators:
    """Who may use the routes below `/admin`."""

    def __init__(self, settings: Settings) -> None:
        self._hashes = [token.reveal() for token in settings.admin.tokens]
        self._has_tenants = bool(settings.tenants)

    def admit(self, exchange: Exchange) -> None:
        """Let an operator in: who shows a token, or without tokens and tenants this machine.

        Raises `BadToken` and `Forbidden`.
        """
        if self._hashes:
            _shown(exchange, self._hashes)
        elif self._has_tenants or not (is_here(exchange) and _is_meant(exchange)):
            raise Forbidden(
                "These routes are an operator's: make a token with `sluice token --admin`, put "
                "its hash under admin.tokens, and show it as `Authorization: Bearer …`."
            )


def is_here(exchange: Exchange) -> bool:
    """Tell whether a client on this machine asks."""
    client = exchange.scope.get("client")
    forwarded = any(name in exchange.headers for name in _FORWARDED)
    return client is not None and is_loopback(client[0]) and not forwarded


def _is_meant(exchange: Exchange) -> bool:
    """Tell whether no page of another site asks, by a browser on this machine."""
    host = exchange.header(b"host")
    origin = exchange.header(b"origin")
    named = urlsplit(f"//{host}").hostname or ""
    return is_loopback(named) and origin in ("", f"http://{host}", f"https://{host}")


def _shown(exchange: Exchange, known: Iterable[str]) -> str:
    """Give the known hash of the token that a request carries. Raises `BadToken`."""
    scheme, _, token = exchange.header(b"authorization").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise BadToken("A token is needed: `Authorization: Bearer …`.")
    shown = token_hash(token.strip().encode("latin-1")).reveal()
    # All are compared, in constant time each: how long it takes tells nothing of them.
    found = [one for one in known if hmac.compare_digest(one, shown)]
    if not found:
        raise BadToken("The token is not known here.")
    return found[0]
