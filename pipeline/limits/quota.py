"""How much of one of our limits is left: what clients are told beside answers and refusals."""

from typing import Literal

import msgspec

Scope = Literal["tenant", "user", "token", "model"]
Dimension = Literal["rpm", "tpm", "rpd", "tpd", "concurrency", "window"]


class Quota(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one limit on one client."""

    scope: Scope
    #: Whose it is, as the configuration or the client names them.
    name: str
    dimension: Dimension
    limit: int
    remaining: int
    #: Seconds until all of it is there again; 0: unknown, or it is.
    reset_s: float = 0.0
    #: 60, 86400 or the window's; 0 for concurrency, which has none.
    window_s: float = 0.0
