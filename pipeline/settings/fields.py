"""What the values of settings may be: ranges, names and addresses, and what all sections are."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
#: One year bounds every length of time: more would overflow a timer or an expiry somewhere.
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Pause = Annotated[float, Meta(ge=0, le=31_536_000)]
WholeSeconds = Annotated[int, Meta(ge=1, le=31_536_000)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Share = Annotated[float, Meta(ge=0, le=1)]
Reserved = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to less than 1")]

_NAME: Final = r"[A-Za-z0-9._:-]{1,64}"
Namespace = Annotated[
    str,
    Meta(
        pattern=rf"{_NAME}|\{{{_NAME}\}}",
        description="1 to 64 letters, digits or . _ : -, all in braces on a Redis cluster",
    ),
]
#: Names of providers and tenants: the part before the slash in `provider/model`.
Name = Annotated[
    str,
    Meta(
        pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        description="1 to 64 letters, digits or . _ -",
    ),
]
ModelName = Annotated[
    str, Meta(pattern=r"\S(?:.{0,254}\S)?", description="a name of 1 to 256 characters")
]
AnyModelName = Annotated[
    str,
    Meta(pattern=r"(?:\S(?:.{0,254}\S)?)?", description="a name of 1 to 256 characters, or none"),
]
HeaderName = Annotated[
    str, Meta(pattern=r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", description="a header's name")
]
ApiVersion = Annotated[
    str,
    Meta(pattern=r"[A-Za-z0-9.-]{0,40}", description='a version such as "2024-10-21"'),
]
Host = Annotated[str, Meta(pattern=r"[A-Za-z0-9.:_-]+", description="a host name or address")]
#: A path is appended to it, and it is shown: no user, password, query or fragment.
HttpUrl = Annotated[
    str,
    Meta(
        pattern=r"(?:https?://[^\s/?#@]+(?:/[^\s?#]*)?)?",
        description="a URL with http:// or https://, without user, password, query and fragment",
    ),
]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections are: sealed, and strict about their keys."""
