"""Who asks: the bearer token's tenant, and what that tenant may see."""

import hmac
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from gateway.exchange import Exchange
from pipeline.errors import BadToken
from pipeline.settings.load import TenantSettings
from pipeline.settings.secret import token_hash


class Caller(msgspec.Struct, frozen=True):
    """Who asks; without tenants, nobody in particular."""

    tenant: str = ""
    #: Which of the tenant's tokens was shown: the first 8 hex digits of its hash.
    token: str = ""


NOBODY: Final = Caller()


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
        scheme, _, token = exchange.header(b"authorization").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise BadToken("A token is needed: `Authorization: Bearer …`.")
        shown = token_hash(token.strip().encode("latin-1")).reveal()
        # All are compared, in constant time each: how long it takes tells nothing of them.
        found = [who for known, who in self._by_hash.items() if hmac.compare_digest(known, shown)]
        if not found:
            raise BadToken("The token is not known here.")
        return found[0]

    def tenant_of(self, exchange: Exchange) -> str:
        """Name the tenant whose token the request carries. Raises `BadToken`."""
        return self.caller_of(exchange).tenant

    def may_use(self, tenant: str, model: str) -> bool:
        """Tell whether a tenant may ask for a model."""
        return not tenant or any(
            fnmatchcase(model, pattern) for pattern in self._tenants[tenant].models
        )

    def may_see(self, tenant: str, owner: str) -> bool:
        """Tell whether a tenant may see what belongs to another one."""
        return not self._tenants or tenant == owner

    def priority_of(self, tenant: str) -> int:
        """Give the priority of a tenant's requests that ask for none."""
        return self._tenants[tenant].priority if tenant else 0
