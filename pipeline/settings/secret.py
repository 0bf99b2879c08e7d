"""Text that must not be seen: keys, tokens' hashes, and addresses that hold a password.

What prints one of these prints a mask; only `reveal` gives the text away. New tokens are made
and hashed here, too.
"""

import hashlib
import hmac
import re
import secrets
from typing import ClassVar, Final

#: A mask shows the end of texts of at least this many characters: 4 of 20 tell nothing.
_SHOWN_FROM: Final = 20

#: What a key that has slipped to a wrong place looks like: a known beginning, a user before an
#: address, or a long run without a break. The setting `token_limits` only begins like one.
_SECRET_LOOKS: Final = re.compile(
    r"\b(?:[srpg]s?k|key|token(?!_limits\b)|secret|bearer)[-_ ]|AIza|xox[a-z]-|eyJ|sha256:|@"
    r"|[A-Za-z0-9_+=]{24,}",
    re.IGNORECASE,
)

_HASH: Final = "sha256:"
#: So many hex digits of a token's hash are its id.
ID_DIGITS: Final = 8


class Secret:
    """Text whose `str` and `repr` are masked."""

    __slots__ = ("_text",)

    #: What the whole text must match, and the words for it; none: anything but empty.
    pattern: ClassVar[re.Pattern[str] | None] = None
    expected: ClassVar[str] = "text"

    def __init__(self, text: str) -> None:
        """Take the text. Raises `ValueError`, which does not quote it, when it has no such form."""
        if not text or (self.pattern is not None and not self.pattern.fullmatch(text)):
            raise ValueError(f"expected {self.expected}")
        self._text = str(text)

    def reveal(self) -> str:
        """Give the text itself."""
        return self._text

    def masked(self) -> str:
        """Give what may be shown: three characters and the last four, if it is long enough."""
        if len(self._text) < _SHOWN_FROM:
            return "…"
        return f"{self._text[:3]}…{self._text[-4:]}"

    def __str__(self) -> str:
        return self.masked()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked()!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)


class ApiKey(Secret):
    """A provider's key: it travels in a header, where spaces and line ends would break it."""

    __slots__ = ()
    pattern = re.compile(r"[!-~]+")
    expected = "a key of printable ASCII characters without spaces"


class HeaderText(Secret):
    """A header's value, which may be a key."""

    __slots__ = ()
    pattern = re.compile(r"[ -~]{1,2048}")
    expected = "up to 2048 printable ASCII characters"


class TokenHash(Secret):
    """The hash of a tenant's bearer token."""

    __slots__ = ()
    pattern = re.compile(r"sha256:[0-9a-f]{64}")
    expected = 'a hash such as "sha256:…" with 64 hex digits (`sluice token --hash` tells it)'

    @property
    def id(self) -> str:
        """The name by which limits and `sluice status` know the token: it gives nobody access."""
        return self._text.removeprefix(_HASH)[:ID_DIGITS]

    def masked(self) -> str:
        """Give the hash's beginning, by which the token is known."""
        return f"{_HASH}{self.id}…"


class SecretUrl(Secret):
    """An address that may hold a password: its mask keeps the scheme, host and path."""

    __slots__ = ()

    def masked(self) -> str:
        """Give the address without user, password and query."""
        scheme, _, rest = self._text.partition("://")
        # A password may hold any of `/?#@` unescaped, so all before the last @ is hidden.
        before, at, place = rest.rpartition("@")
        place, mark, _ = place.partition("?")
        return f"{scheme}://{'…@' if at or before else ''}{place}{'?…' if mark else ''}"


class RedisUrl(SecretUrl):
    """Where Redis is."""

    __slots__ = ()
    pattern = re.compile(r"(?:rediss?|unix)://\S+")
    expected = "a URL with redis://, rediss:// or unix://"


class ProxyUrl(SecretUrl):
    """Where an HTTP proxy is."""

    __slots__ = ()
    pattern = re.compile(r"https?://\S+")
    expected = "a URL with http:// or https://"


def new_token() -> str:
    """Make a bearer token of 32 random bytes; only its hash is to be kept."""
    return f"sk-sluice-{secrets.token_urlsafe(32)}"


def token_hash(token: str | bytes) -> TokenHash:
    """Hash a bearer token as `tenants.*.tokens` has it; text is hashed as UTF-8."""
    sent = token.encode() if isinstance(token, str) else token
    return TokenHash(f"{_HASH}{hashlib.sha256(sent).hexdigest()}")


def quote(text: str) -> str:
    """Quote text for a message, unless it is long or looks like a secret."""
    if len(text) > 60 or _SECRET_LOOKS.search(text):
        return f"text of {len(text)} characters"
    return f'"{text}"'
