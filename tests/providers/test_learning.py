"""What providers say of their limits, in the forms that they document."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from pipeline import clock
from pipeline.errors import UpstreamError
from pipeline.limits.seen import Limited, Seen
from tests.providers.served import BODY, KEY
from workers.providers.base import Answer, ProviderCall
from workers.providers.hints import until_pacific_midnight_s
from workers.providers.learning import seen, seen_in_error
from workers.providers.verdict import broken, refused

CALL = ProviderCall(
    request_id="r", base_url="http://x", kind="openai", model="m", key=KEY, body=BODY
)
#: 12:00 in UTC, in summer and in winter.
SUMMER = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()
WINTER = datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def summer() -> Iterator[None]:
    clock.follow(SUMMER)
    yield
    clock.follow(time.time())


def openai_like(requests: tuple[str, str, str], tokens: tuple[str, str, str]) -> httpx.Headers:
    """Make OpenAI's six: limit, remaining and reset of both."""
    told: dict[str, str] = {}
    for unit, texts in (("Requests", requests), ("tokens", tokens)):
        names = (f"X-RateLimit-{name}-{unit}" for name in ("Limit", "Remaining", "Reset"))
        told |= zip(names, texts, strict=True)
    return httpx.Headers(told)


def anthropic(after_s: int, **left: tuple[int, int]) -> dict[str, str]:
    """Make Anthropic's: limit and remaining by unit, all whole again in so many seconds."""
    until = datetime.fromtimestamp(clock.now() + after_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers: dict[str, str] = {}
    for unit, (limit, remaining) in left.items():
        start = f"anthropic-ratelimit-{unit.replace('_', '-')}"
        headers |= {f"{start}-limit": str(limit), f"{start}-remaining": str(remaining)}
        headers[f"{start}-reset"] = until
    return headers


def google(*quotas: tuple[str, str | None], delay: str = "22s") -> dict[str, object]:
    """Make the error of Gemini's 429 with the quotas' ids and values."""
    violations: list[dict[str, object]] = []
    for quota, value in quotas:
        unit = "input_token_count" if "Token" in quota else "requests"
        violation: dict[str, object] = {
            "quotaMetric": f"generativelanguage.googleapis.com/generate_content_free_tier_{unit}",
            "quotaId": quota,
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
        }
        violations.append(violation | ({"quotaValue": value} if value else {}))
    details: list[dict[str, object]] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": details,
    }


def judged(kind: str, status: int, fields: dict[str, object], **headers: str) -> UpstreamError:
    """Judge an error's object as an answer; `_` in a header's name stands for `-`."""
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    body = msgspec.json.encode({"error": fields})
    answer = Answer(status=status, headers=httpx.Headers(told), body=body)
    return refused(msgspec.structs.replace(CALL, kind=kind), answer)


MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
TOKENS = "GenerateContentInputTokensPerModelPerMinute-FreeTier"


def test_openais_limits_are_read_with_the_time_until_all_is_there_again() -> None:
    headers = openai_like(("5000", "4999", "12ms"), ("160000", "159976", "9ms"))
    expected = (Seen("rpm", 5000, 4999, 12), Seen("tpm", 160000, 159976, 9))
    for kind in ("openai", "compatible", "simulated"):
        assert seen(kind, headers) == expected
        assert seen(kind, dict(headers)) == expected


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        (("200", "199", "7m12s"), Seen("rpd", 200, 199, 432_000)),
        (("10000", "9999", "8.64s"), Seen("rpd", 10_000, 9_999, 8_640)),
        (("14400", "14370", "2m59.56s"), Seen("rpd", 14_400, 14_370, 179_560)),
        (("14400", "0", "23h59m59s"), Seen("rpd", 14_400, 0, 86_399_000)),
        (("60", "59", "1s"), Seen("rpm", 60, 59, 1_000)),
        (("60", "0", "1m0s"), Seen("rpm", 60, 0, 60_000)),
        (("60", "60", "0s"), Seen("rpm", 60, 60, 0)),
        # A window's reset is the time to its end, however little of it is used.
        (("60", "59", "58s"), Seen("rpm", 60, 59, 58_000)),
        # Per hour, it seems, which we know nothing of.
        (("100", "50", "30m"), None),
        (("100", "0", "30m"), Seen("rpm", 0, 0, 1_800_000)),
    ],
)
def test_how_fast_requests_come_back_tells_whether_they_are_per_day(
    requests: tuple[str, str, str], expected: Seen | None
) -> None:
    tokens = Seen("tpm", 18_000, 17_997, 7_660)
    found = seen("compatible", openai_like(requests, ("18000", "17997", "7.66s")))
    assert found == ((tokens,) if expected is None else (expected, tokens))


def test_limits_that_are_none_say_nothing() -> None:
    nonsense = openai_like(("0", "0", "0s"), ("-1", "-1", "0"))
    assert seen("openai", nonsense) == ()
    assert seen("openai", httpx.Headers({"x-ratelimit-remaining-requests": "7"})) == ()
    assert seen("openai", httpx.Headers({"x-ratelimit-limit-tokens": "70"})) == (
        Seen("tpm", 70, -1, -1),
    )


def test_of_azures_window_of_ten_seconds_only_its_end_is_told() -> None:
    first = {"x-ratelimit-remaining-requests": "19", "x-ratelimit-remaining-tokens": "19913"}
    assert seen("azure", httpx.Headers(first)) == ()
    newer = openai_like(("120", "19", "1"), ("20000", "19913", "3"))
    assert seen("azure", newer) == (Seen("tpm", 20_000, 19_913, 3_000),)
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "19913"}
    assert seen("azure", httpx.Headers(spent)) == (Seen("rpm", 0, 0, -1),)
    error = judged("azure", 429, {"code": "429", "message": "Slow."}, retry_after_ms="900")
    assert (error.seen, error.limited, error.retry_after_s) == ((), "requests", 0.9)


def test_anthropics_limits_are_read_from_its_points_in_time() -> None:
    headers = anthropic(
        30,
        requests=(1000, 999),
        tokens=(96_000, 96_000),
        input_tokens=(80_000, 80_000),
        output_tokens=(16_000, 16_000),
    )
    requests, tokens = seen("anthropic", httpx.Headers(headers))
    assert (requests.dimension, requests.limit, requests.remaining) == ("rpm", 1000, 999)
    assert 28_000 <= requests.reset_ms <= 30_000
    assert (tokens.dimension, tokens.limit, tokens.remaining) == ("tpm", 96_000, 96_000)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ({"tokens": (96, 80), "input_tokens": (80, 64), "output_tokens": (16, 4)}, (96, 24)),
        ({"input_tokens": (80, 40), "output_tokens": (16, 16)}, (96, 48)),
        ({"tokens": (96, 90), "output_tokens": (16, 0)}, (96, 0)),
        ({"tokens": (40, 10)}, (40, 10)),
    ],
)
def test_the_tightest_of_anthropics_tokens_counts(
    tokens: dict[str, tuple[int, int]], expected: tuple[int, int]
) -> None:
    thousands = {unit: (limit * 1000, left * 1000) for unit, (limit, left) in tokens.items()}
    (found,) = seen("anthropic", anthropic(9, **thousands))
    assert (found.limit, found.remaining) == (expected[0] * 1000, expected[1] * 1000)


def test_of_anthropics_limits_the_one_with_the_least_left_was_hit() -> None:
    fields: dict[str, object] = {"type": "rate_limit_error", "message": "Too many tokens."}
    headers = anthropic(9, requests=(50, 45), tokens=(30_000, 2_000))
    assert judged("anthropic", 429, fields, **headers, retry_after="9").limited == "tokens"
    headers = anthropic(9, requests=(50, 0), tokens=(30_000, 2_000))
    assert judged("anthropic", 429, fields, **headers).limited == "requests"
    assert judged("anthropic", 529, {"type": "overloaded_error"}).limited == ""


def test_anthropics_cap_on_spending_is_no_rate() -> None:
    fields: dict[str, object] = {
        "type": "rate_limit_error",
        "message": "You have reached your API usage limits.",
        "details": {"error_code": "enforced_spend_limit_reached"},
    }
    error = judged("anthropic", 429, fields)
    assert (error.cause, error.limited) == ("credentials", "")


def test_a_quota_of_gemini_per_minute_is_over_after_its_delay() -> None:
    error = judged("gemini", 429, google((MINUTE, "15"), delay="17.5s"))
    assert error.seen == (Seen("rpm", 15, 0, 17_500),)
    assert (error.cause, error.limited, error.retry_after_s) == ("rate_limited", "requests", 17.5)
    error = judged("gemini", 429, google((TOKENS, "16000")))
    # The request was larger than what is left, which may be much.
    assert error.seen == (Seen("tpm", 16_000, -1, 22_000),)
    assert error.limited == "tokens"


@pytest.mark.usefixtures("summer")
def test_a_quota_of_gemini_per_day_lasts_until_midnight_in_california() -> None:
    error = judged("gemini", 429, google((MINUTE, None), (DAY, "250"), (TOKENS, None)))
    assert error.limited == "day"
    assert error.retry_after_s == pytest.approx(19 * 3600, abs=5)
    minute, day = error.seen
    assert minute == Seen("rpm", 0, 0, 22_000)
    assert (day.dimension, day.limit, day.remaining) == ("rpd", 250, 0)
    assert day.reset_ms == pytest.approx(19 * 3_600_000, abs=5_000)


def test_midnight_follows_californias_clocks() -> None:
    assert until_pacific_midnight_s(SUMMER) == 19 * 3600
    assert until_pacific_midnight_s(WINTER) == 20 * 3600
    spring = datetime(2026, 3, 8, 8, tzinfo=UTC).timestamp()
    assert until_pacific_midnight_s(spring) == 23 * 3600
    assert until_pacific_midnight_s(SUMMER + 19 * 3600) == 24 * 3600


def test_geminis_cap_on_spending_is_no_rate_though_only_its_words_say_so() -> None:
    fields: dict[str, object] = {"code": 429, "status": "RESOURCE_EXHAUSTED"}
    capped = {"message": "Your project has exceeded its monthly spending cap. Please go to …"}
    assert judged("gemini", 429, fields | capped).cause == "credentials"
    plain = {"message": "Resource has been exhausted (e.g. check quota)."}
    error = judged("gemini", 429, fields | plain)
    assert (error.cause, error.limited) == ("rate_limited", "requests")
    assert judged("openai", 429, {"message": "spending cap"}).cause == "rate_limited"


@pytest.mark.parametrize(
    ("hours", "limit", "dimension", "limited"),
    [(9, "50", "rpd", "day"), (0.01, "20", "rpm", "requests")],
)
def test_openrouters_limits_stand_in_the_errors_metadata(
    hours: float, limit: str, dimension: str, limited: Limited
) -> None:
    reset = str(int((clock.now() + hours * 3600) * 1000))
    headers = {
        "X-RateLimit-Limit": limit,
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": reset,
    }
    error = judged("openrouter", 429, {"code": 429, "metadata": {"headers": headers}})
    (found,) = error.seen
    assert (found.dimension, found.limit, found.remaining) == (dimension, int(limit), 0)
    assert found.reset_ms == pytest.approx(hours * 3_600_000, abs=5_000)
    assert error.limited == limited
    assert error.retry_after_s == pytest.approx(hours * 3600, abs=5)


@pytest.mark.parametrize(
    ("requests", "kind", "limited"),
    [
        (("14400", "14000", "40m0s"), "tokens", "tokens"),
        (("14400", "14000", "40m0s"), "requests", "requests"),
        (("1000", "0", "24h0m0s"), "requests", "day"),
        (("1000", "0", "24h0m0s"), None, "day"),
    ],
)
def test_groq_says_by_the_errors_type_which_limit_was_hit(
    requests: tuple[str, str, str], kind: str | None, limited: Limited
) -> None:
    headers = openai_like(requests, ("6000", "120", "58.8s"))
    fields: dict[str, object] = {"type": kind, "code": "rate_limit_exceeded", "message": "Slow."}
    error = judged("compatible", 429, fields, **dict(headers), retry_after="7")
    assert error.limited == limited
    assert [one.dimension for one in error.seen] == ["rpd", "tpm"]
    assert error.retry_after_s == 7


def test_a_type_that_says_nothing_is_no_type() -> None:
    assert seen_in_error("openai", 429, {}, {"type": ["tokens"]}) == ((), "requests")
    assert seen_in_error("openai", 503, {}, {}) == ((), "")


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
@pytest.mark.parametrize("status", [429, 503])
def test_who_knows_no_rates_is_busy(kind: str, status: int) -> None:
    fields: dict[str, object] = {"message": "busy", "type": "TooManyRequests", "code": status}
    error = judged(kind, status, fields, x_ratelimit_limit_requests="9")
    assert (error.seen, error.limited) == ((), "concurrency")


def test_other_refusals_tell_of_limits_and_ran_into_none() -> None:
    headers = dict(openai_like(("60", "59", "1s"), ("9000", "8000", "7s")))
    error = judged("openai", 400, {"message": "No.", "type": "invalid_request_error"}, **headers)
    assert (len(error.seen), error.limited, error.sent) == (2, "", True)
    spent = judged("openai", 429, {"type": "insufficient_quota"}, **headers)
    assert (spent.cause, spent.limited) == ("credentials", "")


def test_what_never_left_us_is_not_counted_by_the_provider() -> None:
    request = httpx.Request("POST", "http://x")
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
    assert not any(broken(CALL, kind("gone", request=request)).sent for kind in unsent)
    sent = (httpx.ReadError, httpx.RemoteProtocolError)
    assert all(broken(CALL, kind("gone", request=request)).sent for kind in sent)


def test_what_is_seen_is_an_array_on_the_wire() -> None:
    assert msgspec.json.encode(Seen("rpm", 60, 59, 1000)) == b'["rpm",60,59,1000]'
