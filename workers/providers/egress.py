"""The address of a proxy, and apart from it the user and password that it may hold."""

from base64 import b64encode
from functools import lru_cache
from urllib.parse import unquote

import msgspec


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy to go through."""

    #: Without user and password: errors quote it.
    url: str
    #: Secret, like what follows of it.
    password: str = ""
    #: What `Proxy-Authorization` has to say; empty: nothing.
    authorization: str = ""

    def __repr__(self) -> str:
        """Tell the place alone."""
        return f"Proxy(url={self.url!r})"


@lru_cache(maxsize=64)
def proxy_of(address: str) -> Proxy:
    """Take an address apart; the password may hold any of `/?#@` unescaped."""
    scheme, mark, rest = address.partition("://")
    before, _, place = rest.rpartition("@")
    user, _, password = before.partition(":")
    said = f"{unquote(user)}:{unquote(password)}".encode()
    return Proxy(
        url=f"{scheme}{mark}{place}",
        password=unquote(password),
        authorization=f"Basic {b64encode(said).decode()}" if before else "",
    )
