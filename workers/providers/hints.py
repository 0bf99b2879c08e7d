"""Reads when a provider says that one may come back.

Precedence as in WIRE.md 11: `retry-after-ms`, `x-ms-retry-after-ms`, `retry-after` in seconds or
as a date, a hint in the error's body, the latest reset among the exhausted dimensions. Before
them all comes the end of the day where Google says that a quota per day is spent.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline import clock
from workers.providers.told import violations

_UNITS_S: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")
#: `x-ratelimit-remaining-tokens`, `anthropic-ratelimit-input-tokens-remaining`, and the like.
_REMAINING: Final = re.compile(r"ratelimit.*remaining")
#: A bare number above this is a point in time, in seconds or milliseconds since 1970.
_EPOCH_S: Final = 1e9


def retry_after_s(headers: Mapping[str, str], error: Mapping[str, object]) -> float:
    """Tell how many seconds to stay away; 0: the provider does not say."""
    # Beside such a quota Google's retryDelay counts to the next minute.
    if any(is_per_day(quota) for quota in violations(error)):
        return until_pacific_midnight_s()
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (milliseconds := _number(headers.get(name))) is not None:
            return milliseconds / 1000
    told = headers.get("retry-after")
    for hint in (_retry_after(told, headers.get("date")), _of_body(error), _of_resets(headers)):
        if hint is not None:
            return hint
    return 0.0


def duration_s(text: str) -> float | None:
    """Read a Go duration such as `6m0s` or `12ms`; None: it is none."""
    if not _DURATION.fullmatch(text):
        return None
    return math.fsum(float(amount) * _UNITS_S[unit] for amount, unit in _PART.findall(text))


def until_pacific_midnight_s(now_s: float | None = None) -> float:
    """Tell the seconds until Google's quotas per day begin anew, from now or a Unix time.

    https://ai.google.dev/gemini-api/docs/rate-limits: at midnight Pacific time.
    """
    now_s = clock.now() if now_s is None else now_s
    here = datetime.fromtimestamp(now_s, _pacific())
    midnight = datetime(here.year, here.month, here.day, tzinfo=here.tzinfo) + timedelta(days=1)
    return midnight.timestamp() - now_s


def is_per_day(quota: Mapping[str, object]) -> bool:
    """Tell whether one of Google's quotas is per day."""
    return "PerDay" in str(quota.get("quotaId")) or "per_day" in str(quota.get("quotaMetric"))


def retry_delay_s(error: Mapping[str, object]) -> float | None:
    """Find Google's RetryInfo: `{"@type": "…RetryInfo", "retryDelay": "22s"}`."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return duration_s(delay)
    return None


def reset_s(text: str) -> float | None:
    """Read a reset: seconds, a duration, or a point in time; None: it is none of them."""
    number = _number(text)
    if number is None:
        seconds = duration_s(text)
        return _until(text) if seconds is None else seconds
    if number < _EPOCH_S:
        return number
    epoch_s = number / 1000 if number > _EPOCH_S * 100 else number
    return max(0.0, epoch_s - clock.now())


@cache
def _pacific() -> tzinfo:
    try:
        return ZoneInfo("America/Los_Angeles")
    except (ZoneInfoNotFoundError, OSError):
        # Without a database of zones the summer's hour is waited for: late, never early.
        return timezone(timedelta(hours=-8))


def _retry_after(told: str | None, date: str | None) -> float | None:
    if told is None:
        return None
    seconds = _number(told)
    if seconds is not None:
        return seconds
    until = _http_date(told)
    if until is None:
        return duration_s(told.strip())
    # The provider's own clock is the better measure of its dates.
    sent = _http_date(date or "")
    return max(0.0, until - (clock.now() if sent is None else sent))


def _of_body(error: Mapping[str, object]) -> float | None:
    metadata = error.get("metadata")
    if isinstance(metadata, dict):
        seconds = _number(metadata.get("retry_after_seconds"))
        if seconds is not None:
            return seconds
        headers = metadata.get("headers")
        if isinstance(headers, dict):
            texts = {str(name).lower(): str(value) for name, value in headers.items()}
            if (hint := _retry_after(texts.get("retry-after"), None)) is not None:
                return hint
            return _of_resets(texts)
    return retry_delay_s(error)


def _of_resets(headers: Mapping[str, str]) -> float | None:
    return max(_resets(headers), default=None)


def _resets(headers: Mapping[str, str]) -> Iterable[float]:
    for name, left in headers.items():
        if not _REMAINING.search(name) or _number(left) != 0:
            continue
        reset = headers.get(name.replace("remaining", "reset"))
        if reset is not None and (seconds := reset_s(reset.strip())) is not None:
            yield seconds


def _until(text: str) -> float | None:
    try:
        point = datetime.fromisoformat(text)
    except ValueError:
        return None
    point = point if point.tzinfo else point.replace(tzinfo=UTC)
    return max(0.0, point.timestamp() - clock.now())


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(value: object) -> float | None:
    """Read a number of seconds or the like; what is negative or no number says nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
