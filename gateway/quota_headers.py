"""Our limits on a client as headers: OpenAI's, and the RateLimit fields of the IETF (WIRE.md 9).

https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.errors import Failure
from pipeline.limits.quota import Dimension, Quota

_Header = tuple[bytes, bytes]

#: What the `x-ratelimit` headers speak of; they know no limit on what is in flight.
_KINDS: Final[dict[str, frozenset[Dimension]]] = {
    "requests": frozenset({"rpm", "rpd", "window"}),
    "tokens": frozenset({"tpm", "tpd"}),
}
#: Units other than requests: the draft's registry has the one, and lets us name the other.
_UNITS: Final[dict[Dimension, str]] = {
    "tpm": "tokens", "tpd": "tokens", "concurrency": "concurrent-requests",
}  # fmt: skip

#: `source` in the metadata of a refusal by one of our limits.
_OURS: Final = "sluice"


def quota_headers(quotas: Sequence[Quota]) -> list[_Header]:
    """Tell all quotas, and in OpenAI's headers the tightest of requests and of tokens."""
    if not quotas:
        return []
    headers = [header for kind in _KINDS for header in _tightest(kind, quotas)]
    policies = ", ".join(_policy(quota) for quota in quotas)
    states = ", ".join(_state(quota) for quota in quotas)
    return [
        *headers,
        (b"ratelimit-policy", policies.encode()),
        (b"ratelimit", states.encode()),
    ]


def refusal_headers(failure: Failure) -> list[_Header]:
    """Tell the limit of ours that refused a request; nothing where it was a provider's."""
    if failure.metadata.get("source") != _OURS:
        return []
    try:
        quota = msgspec.convert(failure.metadata, Quota)
    except msgspec.ValidationError:
        # A full queue is ours, too, but no quota.
        return []
    return quota_headers([quota])


def duration(seconds: float) -> str:
    """Write a duration as Go does, such as 12ms, 1s or 6m0s, rounded up."""
    milliseconds = max(0, math.ceil(round(seconds * 1000, 3)))
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(math.ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _tightest(kind: str, quotas: Sequence[Quota]) -> list[_Header]:
    counted = [quota for quota in quotas if quota.dimension in _KINDS[kind]]
    if not counted:
        return []
    # Of several that are used up, the one that lasts longest is what keeps the client out.
    tightest = min(counted, key=lambda quota: (quota.remaining, -quota.reset_s))
    values = {
        "limit": str(tightest.limit),
        "remaining": str(max(0, tightest.remaining)),
        "reset": duration(tightest.reset_s),
    }
    return [
        (f"x-ratelimit-{name}-{kind}".encode(), value.encode()) for name, value in values.items()
    ]


def _policy(quota: Quota) -> str:
    window = f";w={math.ceil(quota.window_s)}" if quota.window_s else ""
    unit = _UNITS.get(quota.dimension)
    return f"{_named(quota)};q={quota.limit}{window}" + (f';qu="{unit}"' if unit else "")


def _state(quota: Quota) -> str:
    left = f"{_named(quota)};r={max(0, quota.remaining)}"
    # A lease ends when its call does, which nobody knows.
    return left if quota.dimension == "concurrency" else f"{left};t={math.ceil(quota.reset_s)}"


def _named(quota: Quota) -> str:
    return f'"{quota.scope}-{quota.dimension}"'
