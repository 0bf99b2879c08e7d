"""Our limits as headers, to the letter."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota_headers import duration, quota_headers, refusal_headers
from pipeline.errors import Failure
from pipeline.limits.quota import Dimension, Quota, Scope


def quota(
    dimension: Dimension = "rpm",
    remaining: int = 42,
    reset_s: float = 6.2,
    scope: Scope = "tenant",
    window_s: float = 60,
) -> Quota:
    return Quota(
        scope=scope, name="acme", dimension=dimension, limit=60, remaining=remaining,
        reset_s=reset_s, window_s=window_s,
    )  # fmt: skip


def told(*quotas: Quota) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in quota_headers(quotas)}


def test_a_quota_is_told_in_both_forms() -> None:
    assert told(quota(), quota("tpm", 1000, 0.3)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "42",
        "x-ratelimit-reset-requests": "7s",
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "1000",
        "x-ratelimit-reset-tokens": "300ms",
        "ratelimit-policy": '"tenant-rpm";q=60;w=60, "tenant-tpm";q=60;w=60;qu="tokens"',
        "ratelimit": '"tenant-rpm";r=42;t=7, "tenant-tpm";r=1000;t=1',
    }


def test_the_tightest_of_several_is_in_openais_headers() -> None:
    day = quota("rpd", 3, 7200, "user", 86400)
    headers = told(quota(), day, quota("window", 5, 1, "model", 0.5))
    assert headers["x-ratelimit-remaining-requests"] == "3"
    assert headers["x-ratelimit-reset-requests"] == "2h0m0s"
    assert headers["ratelimit-policy"].endswith('"user-rpd";q=60;w=86400, "model-window";q=60;w=1')
    assert "x-ratelimit-limit-tokens" not in headers

    spent = told(quota(remaining=0, reset_s=3), quota("rpd", 0, 7200))
    assert spent["x-ratelimit-reset-requests"] == "2h0m0s"


def test_concurrency_has_no_window_and_no_reset() -> None:
    assert told(quota("concurrency", 2, 0, "token", 0)) == {
        "ratelimit-policy": '"token-concurrency";q=60;qu="concurrent-requests"',
        "ratelimit": '"token-concurrency";r=2',
    }


def test_who_has_no_limits_is_told_of_none() -> None:
    assert told() == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (-1, "0s"), (0.012, "12ms"), (0.0001, "1ms"), (1, "1s"), (1.5, "2s"),
        (59.5, "1m0s"), (360, "6m0s"), (3661, "1h1m1s"), (86400, "24h0m0s"),
    ],
)  # fmt: skip
def test_resets_are_written_as_go_writes_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e7))
def test_no_reset_is_told_too_early(seconds: float) -> None:
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    parts = re.findall(r"(\d+)(ms|[hms])", duration(seconds))
    read = sum(int(number) * units[unit] for number, unit in parts)
    assert seconds - 1e-5 <= read <= seconds + 1 + 1e-5


LIMITED = {
    "source": "sluice", "scope": "tenant", "name": "acme", "dimension": "rpm",
    "limit": 60, "remaining": 0, "reset_s": 12.3, "window_s": 60,
}  # fmt: skip


def test_a_refusal_by_our_limit_tells_the_limit() -> None:
    headers = dict(refusal_headers(Failure(message="", metadata=LIMITED)))
    assert headers[b"x-ratelimit-limit-requests"] == b"60"
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers[b"x-ratelimit-reset-requests"] == b"13s"
    assert headers[b"ratelimit-policy"] == b'"tenant-rpm";q=60;w=60'
    assert headers[b"ratelimit"] == b'"tenant-rpm";r=0;t=13'


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"source": "sluice"},
        {"source": "provider", "eta_s": 9.5},
        LIMITED | {"source": "provider"},
        LIMITED | {"dimension": "heavy"},
        LIMITED | {"limit": "many"},
    ],
)
def test_a_refusal_that_is_no_limit_of_ours_has_no_such_headers(
    metadata: dict[str, object],
) -> None:
    assert refusal_headers(Failure(message="", metadata=metadata)) == []
