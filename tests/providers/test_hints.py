"""When a provider says that one may come back."""

import time
from email.utils import formatdate

import httpx
import pytest

from workers.providers.hints import duration_s, retry_after_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("7.66s", 7.66),
        ("2µs", 2e-6),
        ("", None),
        ("soon", None),
        ("5", None),
    ],
)
def test_go_durations_are_read(text: str, seconds: float | None) -> None:
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


def hinted(error: dict[str, object] | None = None, /, **headers: str) -> float:
    """Read the hint of headers, `_` standing for `-`, and an error's body."""
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    return retry_after_s(httpx.Headers(told), error or {})


def test_hints_are_taken_in_the_order_of_their_precision() -> None:
    headers = {
        "retry_after_ms": "1500",
        "x_ms_retry_after_ms": "2500",
        "retry_after": "3",
        "x_ratelimit_remaining_tokens": "0",
        "x_ratelimit_reset_tokens": "5s",
    }
    body: dict[str, object] = {"metadata": {"retry_after_seconds": 4}}
    for expected in (1.5, 2.5, 3.0):
        assert hinted(body, **headers) == expected
        del headers[next(iter(headers))]
    assert hinted(body, **headers) == 4.0
    assert hinted(**headers) == 5.0
    assert hinted() == 0.0


def test_a_date_counts_from_the_providers_own_clock() -> None:
    at = 1_700_000_000
    assert hinted(retry_after=formatdate(at + 30, usegmt=True), date=formatdate(at)) == 30
    assert hinted(retry_after=formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert hinted(retry_after=formatdate(at, usegmt=True)) == 0


@pytest.mark.parametrize("nonsense", ["soon", "-5", "nan", "inf", ""])
def test_nonsense_is_no_hint(nonsense: str) -> None:
    assert hinted(retry_after=nonsense, retry_after_ms=nonsense) == 0


def test_only_the_reset_of_exhausted_dimensions_counts() -> None:
    assert (
        hinted(
            x_ratelimit_remaining_requests="0",
            x_ratelimit_reset_requests="2s",
            x_ratelimit_remaining_tokens="17",
            x_ratelimit_reset_tokens="6m0s",
        )
        == 2
    )


def test_the_latest_of_several_exhausted_dimensions_counts() -> None:
    assert (
        hinted(
            x_ratelimit_remaining_requests="0",
            x_ratelimit_reset_requests="2s",
            x_ratelimit_remaining_tokens="0",
            x_ratelimit_reset_tokens="1m30s",
        )
        == 90
    )


def test_resets_given_as_points_in_time_are_read() -> None:
    until = time.time() + 40
    rfc3339 = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    anthropic = {
        "anthropic_ratelimit_input_tokens_remaining": "0",
        "anthropic_ratelimit_input_tokens_reset": rfc3339,
    }
    assert hinted(**anthropic) == pytest.approx(40, abs=2)
    milliseconds = {
        "x_ratelimit_remaining": "0",
        "x_ratelimit_reset": str(int(until * 1000)),
    }
    assert hinted(**milliseconds) == pytest.approx(40, abs=2)


def test_hints_in_the_body_are_read() -> None:
    google: dict[str, object] = {"details": [{"@type": "QuotaFailure"}, {"retryDelay": "22s"}]}
    assert hinted(google) == 22
    openrouter: dict[str, object] = {"metadata": {"headers": {"Retry-After": "9"}}}
    assert hinted(openrouter) == 9
