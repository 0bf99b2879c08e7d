"""Reads what an answer says of its provider's limits, for the shared state to be corrected by.

Only what is sure comes out: a limit whose period cannot be told, or what remains of a limit that
is not named, says nothing, unless nothing remains. Forms: WIRE.md 11 and the links below.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import httpx

from pipeline.limits.seen import Dimension, Limited, Seen
from workers.providers.hints import is_per_day, reset_s, retry_delay_s, until_pacific_midnight_s
from workers.providers.told import violations

_Headers = dict[bytes, bytes]

#: Greater numbers are no limits, and Lua could not hold them exactly.
_MOST: Final = 10**15
_LONGEST_S: Final = 400 * 86400
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
#: A limit per minute is whole again within a minute; the rest is for clocks that differ.
_MINUTE_MS: Final = 90_000
#: Kinds that queue or refuse when they are busy, and know no rates.
_SATURATING: Final = frozenset({"vllm", "ollama"})

_SAID: Final[Mapping[object, Limited]] = {
    "requests": "requests",
    "tokens": "tokens",
    "concurrency": "concurrency",
}


def seen(kind: str, headers: Mapping[str, str]) -> tuple[Seen, ...]:
    """Read the headers of any answer of a provider of this kind."""
    read = _READERS.get(kind)
    if read is None:
        return ()
    if isinstance(headers, httpx.Headers):
        # Measured with 18 headers: 1.5 µs to see that there are none; `items` takes 5 times that.
        raw = headers.raw
        if b"ratelimit" not in b"".join([name for name, _ in raw]).lower():
            return ()
        return tuple(read({name.lower(): text for name, text in raw}))
    return tuple(read(_encoded(headers)))


def seen_in_error(
    kind: str, status: int, headers: Mapping[str, str], error: Mapping[str, object]
) -> tuple[tuple[Seen, ...], Limited]:
    """Read the headers and the error object of a refusal; tell also which limit it ran into."""
    found = (*seen(kind, headers), *_of_metadata(error), *_of_google(error))
    if kind in _SATURATING:
        return found, "concurrency" if status in (429, 503) else ""
    if status != 429:
        return found, ""
    if violated := [_of_quota(quota) for quota in violations(error)]:
        return found, next(which for which in ("day", "requests", "tokens") if which in violated)
    return found, _limited(error, found)


def _limited(error: Mapping[str, object], found: tuple[Seen, ...]) -> Limited:
    """Tell which limit was hit: the error's type names it (OpenAI, Groq), or the headers show."""
    spent = {one.dimension for one in found if one.remaining == 0}
    kind = error.get("type")
    said = _SAID.get(kind) if isinstance(kind, str) else None
    if said is None and spent & {"rpd", "tpd"}:
        return "day"
    if said is not None:
        daily: Dimension = "rpd" if said == "requests" else "tpd"
        return "day" if daily in spent else said
    shares = {one.dimension: _share(one) for one in found}
    return "tokens" if shares.get("tpm", 1.0) < shares.get("rpm", 1.0) else "requests"


def _share(one: Seen) -> float:
    """Tell how much of a limit is left, of 1; what is unknown counts as whole."""
    if one.remaining <= 0:
        return 0.0 if one.remaining == 0 else 1.0
    return one.remaining / one.limit if one.limit else 1.0


def _of_openai(headers: _Headers) -> Iterable[Seen]:
    """Read OpenAI's six, which many send: the reset is the time until all is there again.

    https://developers.openai.com/api/docs/guides/rate-limits
    Under these names the small tiers of OpenAI, and Groq always, tell their requests per day
    (https://console.groq.com/docs/rate-limits); tokens are per minute.
    """
    requests = _bucket(headers, _OPENAI_REQUESTS)
    if requests is not None:
        dimension = _requests_dimension(*requests)
        if dimension is not None:
            yield Seen(dimension, *requests)
        elif requests[1] == 0:
            yield Seen("rpm", 0, 0, requests[2])
    tokens = _bucket(headers, _OPENAI_TOKENS)
    if tokens is not None:
        yield Seen("tpd" if tokens[2] > _HOUR_MS else "tpm", *tokens)


def _requests_dimension(limit: int, remaining: int, reset_ms: int) -> Dimension | None:
    """Tell the period of a limit; None: neither a minute nor a day.

    A bucket that refills evenly tells it early: after 30 of 14,400 requests a reset of 180 s
    means a day. A window's reset is the time to its end, so it never exceeds its period.
    """
    used = limit - remaining if limit and remaining >= 0 else 0
    period_ms = reset_ms * limit / used if used else 0
    if reset_ms > _HOUR_MS or abs(period_ms - _DAY_MS) < _DAY_MS / 10:
        return "rpd"
    return "rpm" if reset_ms <= _MINUTE_MS else None


def _of_azure(headers: _Headers) -> Iterable[Seen]:
    """Read Azure's: tokens where their limit is named, requests when there are none left.

    What remains of the requests is of a window of 10 s (at 120 a minute it starts at 20), and
    whether a limit told beside it is of the same window is documented nowhere. -1 stands for
    unknown. Both are told after the fact, and tokens are Azure's estimate.
    """
    requests = _bucket(headers, _OPENAI_REQUESTS)
    if requests is not None and requests[1] == 0:
        yield Seen("rpm", 0, 0, requests[2])
    tokens = _bucket(headers, _OPENAI_TOKENS)
    if tokens is not None:
        yield Seen("tpm", *tokens)


def _of_anthropic(headers: _Headers) -> Iterable[Seen]:
    """Read Anthropic's: https://platform.claude.com/docs/en/api/rate-limits

    The combined tokens (input and output, or a workspace's own limit) are what we count; input
    or output may be spent sooner. So the limit is the combined one, and what remains is its part
    that the tightest of the three has left. Tokens are rounded to the nearest thousand.
    """
    requests = _bucket(headers, _ANTHROPIC_REQUESTS)
    if requests is not None:
        yield Seen("rpm", *requests)
    told = [_bucket(headers, names) for names in _ANTHROPIC_TOKENS]
    buckets = [Seen("tpm", *bucket) for bucket in told if bucket is not None]
    if not buckets:
        return
    tightest = min(buckets, key=_share)
    limit = buckets[0].limit if told[0] is not None else sum(one.limit for one in buckets)
    known = tightest.remaining > 0 and tightest.limit > 0
    left = limit * tightest.remaining // tightest.limit if known else tightest.remaining
    yield Seen("tpm", limit, left, tightest.reset_ms)


def _of_plain(headers: _Headers) -> Iterable[Seen]:
    """Read OpenRouter's, whose reset is a point in time; it limits per minute and per day alone.

    https://openrouter.ai/docs/api-reference/limits
    """
    requests = _bucket(headers, _PLAIN)
    if requests is not None:
        yield Seen("rpd" if requests[2] > _MINUTE_MS else "rpm", *requests)


def _of_metadata(error: Mapping[str, object]) -> Iterable[Seen]:
    """Read the headers that OpenRouter puts into an error's metadata."""
    metadata = error.get("metadata")
    headers = metadata.get("headers") if isinstance(metadata, dict) else None
    return _of_plain(_encoded(headers)) if isinstance(headers, dict) else ()


def _of_google(error: Mapping[str, object]) -> Iterable[Seen]:
    """Read the quotas that Google names as exceeded: https://ai.google.dev/gemini-api/docs/rate-limits

    A request for tokens may have been too large for what is left, which is then unknown.
    """
    for quota in violations(error):
        daily, tokens = is_per_day(quota), _counts_tokens(quota)
        dimension: Dimension = "tpm" if tokens else "rpm"
        wait_s = retry_delay_s(error)
        if daily:
            dimension = "tpd" if tokens else "rpd"
            wait_s = until_pacific_midnight_s()
        limit = max(0, _count(str(quota.get("quotaValue")).encode("utf-8", "replace")))
        remaining = -1 if tokens else 0
        if limit or remaining == 0:
            yield Seen(dimension, limit, remaining, _milliseconds(wait_s))


def _of_quota(quota: Mapping[str, object]) -> Limited:
    if is_per_day(quota):
        return "day"
    return "tokens" if _counts_tokens(quota) else "requests"


def _counts_tokens(quota: Mapping[str, object]) -> bool:
    return "token" in f"{quota.get('quotaId')} {quota.get('quotaMetric')}".lower()


_Names = tuple[bytes, bytes, bytes]


def _bucket(headers: _Headers, names: _Names) -> tuple[int, int, int] | None:
    """Read a limit, what remains of it and its reset in ms; None: it says nothing of use."""
    told, left, reset = names
    limit, remaining = _count(headers.get(told)), _count(headers.get(left))
    # A limit of none is what some send where there is no limit.
    if limit == 0 or (limit < 0 and remaining != 0):
        return None
    if limit < 0:
        limit = 0
    elif remaining > limit:
        remaining = limit
    return limit, remaining, _reset_ms(headers.get(reset))


def _count(text: bytes | None) -> int:
    """Read a whole number; -1: there is none, or none that can be."""
    if text is None:
        return -1
    try:
        number = int(text)
    except ValueError:
        return -1
    return number if 0 <= number <= _MOST else -1


def _reset_ms(text: bytes | None) -> int:
    if text is None:
        return -1
    try:
        # The usual forms, `12ms` and `7.66s`, without the price of all the others.
        if text[-2:] == b"ms":
            return _milliseconds(float(text[:-2]) / 1000)
        if text[-1:] == b"s":
            return _milliseconds(float(text[:-1]))
    except ValueError:
        pass
    return _milliseconds(reset_s(text.decode("utf-8", "replace").strip()))


def _milliseconds(seconds: float | None) -> int:
    if seconds is None or not 0 <= seconds <= _LONGEST_S:
        return -1
    return round(seconds * 1000)


def _encoded(headers: Mapping[str, object]) -> _Headers:
    return {
        str(name).lower().encode("utf-8", "replace"): str(text).encode("utf-8", "replace")
        for name, text in headers.items()
    }


def _openai_names(unit: bytes) -> _Names:
    start = b"x-ratelimit-"
    return (start + b"limit-" + unit, start + b"remaining-" + unit, start + b"reset-" + unit)


def _anthropic_names(unit: bytes) -> _Names:
    start = b"anthropic-ratelimit-" + unit
    return (start + b"-limit", start + b"-remaining", start + b"-reset")


_OPENAI_REQUESTS: Final = _openai_names(b"requests")
_OPENAI_TOKENS: Final = _openai_names(b"tokens")
_ANTHROPIC_REQUESTS: Final = _anthropic_names(b"requests")
#: The combined ones first.
_ANTHROPIC_TOKENS: Final = tuple(
    _anthropic_names(unit) for unit in (b"tokens", b"input-tokens", b"output-tokens")
)
_PLAIN: Final = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")

#: Gemini tells its limits in errors alone; vLLM and Ollama have none.
_READERS: Final[Mapping[str, Callable[[_Headers], Iterable[Seen]]]] = {
    "openai": _of_openai,
    "compatible": _of_openai,
    "simulated": _of_openai,
    "azure": _of_azure,
    "anthropic": _of_anthropic,
    "openrouter": _of_plain,
}
