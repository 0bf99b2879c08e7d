"""The simulated provider's rate limits per API key; OpenAI's headers of them (WIRE.md, section 2).

A limit per minute is a bucket that starts full and refills evenly; a reset is the time until it
is full again. Refused calls take nothing. Time is handed in, in seconds of any steady clock.
"""

import math
from collections.abc import Callable

from workers.providers.simulated.errors import Headers, RefusalError
from workers.providers.simulated.faults import Behaviour

#: Accounts remembered; beyond it those that owe nothing are forgotten.
MAX_ACCOUNTS = 10_000
#: When a place among concurrent calls may be free again: nobody knows, so a short guess.
CONCURRENCY_RETRY_MS = 250.0
#: Rounding of floats must not refuse a call that is due.
_TOLERANCE = 1e-6

#: Writes one limit's headers: its name, the limit, what remains, the seconds until it is full.
WriteLimit = Callable[[bytes, int, int, float], Headers]


def openai_limit(name: bytes, limit: int, remaining: int, full_in_s: float) -> Headers:
    """Write a limit's headers as OpenAI does."""
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % remaining),
        (b"x-ratelimit-reset-" + name, go_duration(full_in_s).encode()),
    ]


class Meter:
    """One limit per minute, held as the time at which its bucket will be full (GCRA)."""

    __slots__ = ("_full_at", "_name", "_per_s", "limit")

    def __init__(self, name: bytes, limit: int) -> None:
        self.limit = limit
        self._name = name
        self._per_s = limit / 60
        self._full_at = 0.0

    def _used(self, now: float) -> float:
        return max(0.0, self._full_at - now) * self._per_s

    def wait_s(self, cost: int, now: float) -> float:
        """Tell in how many seconds `cost` fits; 0 is now, infinity never."""
        if cost > self.limit:
            return math.inf
        over = self._used(now) + cost - self.limit
        return over / self._per_s if over > _TOLERANCE else 0.0

    def take(self, cost: int, now: float) -> None:
        self._full_at = max(now, self._full_at) + cost / self._per_s

    def idle(self, now: float) -> bool:
        return self._full_at <= now

    def headers(self, now: float, write: WriteLimit) -> Headers:
        remaining = max(0, int(self.limit - self._used(now) + _TOLERANCE))
        return write(self._name, self.limit, remaining, max(0.0, self._full_at - now))


class Account:
    """What one API key has used of one set of limits."""

    __slots__ = ("_active", "_concurrency", "_requests", "_tokens")

    def __init__(self, behaviour: Behaviour) -> None:
        self._requests = Meter(b"requests", behaviour.rpm) if behaviour.rpm else None
        self._tokens = Meter(b"tokens", behaviour.tpm) if behaviour.tpm else None
        self._concurrency = behaviour.concurrency
        self._active = 0

    def admit(self, tokens: int, now: float) -> None:
        """Take a place, one request and the tokens, all or nothing; raises RefusalError."""
        if self._concurrency is not None and self._active >= self._concurrency:
            what = "concurrent requests"
            raise _over(what, self._concurrency, CONCURRENCY_RETRY_MS, "concurrency")
        _check(self._requests, "requests", 1, now)
        _check(self._tokens, "tokens", tokens, now)
        self._active += 1
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(tokens, now)

    def release(self) -> None:
        """Give the place among concurrent calls back."""
        self._active -= 1

    def idle(self, now: float) -> bool:
        meters = (self._requests, self._tokens)
        return not self._active and all(meter is None or meter.idle(now) for meter in meters)

    def headers(self, now: float, write: WriteLimit = openai_limit) -> Headers:
        requests = self._requests.headers(now, write) if self._requests else []
        return requests + (self._tokens.headers(now, write) if self._tokens else [])


class Accounts:
    """The accounts by API key; calls of one key under equal limits share one."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, int | None, int | None, int | None], Account] = {}

    def find(self, key: str, behaviour: Behaviour, now: float) -> Account | None:
        """Return the account that a call draws on, or None when it has no limits."""
        limits = (behaviour.rpm, behaviour.tpm, behaviour.concurrency)
        if limits == (None, None, None):
            return None
        account = self._accounts.get((key, *limits))
        if account is None:
            self._forget(now)
            account = self._accounts[key, *limits] = Account(behaviour)
        return account

    def _forget(self, now: float) -> None:
        if len(self._accounts) >= MAX_ACCOUNTS:
            kept = {key: one for key, one in self._accounts.items() if not one.idle(now)}
            self._accounts = kept


def go_duration(seconds: float) -> str:
    """Write a duration as Go does, to the millisecond: `12ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    total_ms = math.ceil(seconds * 1000 - _TOLERANCE)
    if total_ms <= 0:
        return "0s"
    if total_ms < 1000:
        return f"{total_ms}ms"
    minutes, rest_ms = divmod(total_ms, 60_000)
    rest = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}"
    return f"{minutes}m{rest}" if minutes else rest


def _check(meter: Meter | None, unit: str, cost: int, now: float) -> None:
    wait_s = meter.wait_s(cost, now) if meter else 0.0
    if meter is None or not wait_s:
        return
    if wait_s == math.inf:
        message = f"Request too large: {cost} {unit} asked, the limit is {meter.limit} per minute."
        raise RefusalError(429, message, kind=(unit, "rate_limit_exceeded"))
    raise _over(f"{unit} per minute", meter.limit, wait_s * 1000, unit)


def _over(what: str, limit: int, retry_ms: float, unit: str) -> RefusalError:
    message = f"Rate limit reached: {limit} {what}. Try again in {go_duration(retry_ms / 1000)}."
    return RefusalError(429, message, kind=(unit, "rate_limit_exceeded"), retry_ms=retry_ms)
