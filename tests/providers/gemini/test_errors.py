"""Google's errors: what each means for the call, its key and its deployment."""

import httpx
import msgspec
import pytest

from pipeline.errors import Cause, UpstreamError
from pipeline.limits.seen import Seen
from tests.providers.gemini.ground import KEY, Json, call
from workers.providers import verdict
from workers.providers.base import Answer

TOO_LONG = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."


def rpc(kind: str, **fields: object) -> Json:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


def judged(
    code: int, status: str, *details: Json, message: str = "No.", listed: bool = False
) -> UpstreamError:
    """Judge an error as the API sends it; some of its fronts send a list of one."""
    error = {"code": code, "message": message, "status": status, "details": details}
    body = msgspec.json.encode([{"error": error}] if listed else {"error": error})
    return verdict.refused(call(), Answer(status=code, headers=httpx.Headers(), body=body))


def quota(name: str, value: str = "10") -> Json:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    violation = {"quotaMetric": metric, "quotaId": name, "quotaValue": value}
    return rpc("QuotaFailure", violations=[violation])


@pytest.mark.parametrize(
    ("code", "status", "cause"),
    [
        (400, "INVALID_ARGUMENT", "bad_request"),
        (400, "FAILED_PRECONDITION", "credentials"),
        (401, "UNAUTHENTICATED", "credentials"),
        (403, "PERMISSION_DENIED", "credentials"),
        (404, "NOT_FOUND", "model_not_found"),
        (429, "RESOURCE_EXHAUSTED", "rate_limited"),
        (499, "CANCELLED", "network"),
        (500, "INTERNAL", "network"),
        (503, "UNAVAILABLE", "overloaded"),
        (504, "DEADLINE_EXCEEDED", "timeout"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_code_has_its_cause(code: int, status: str, cause: Cause, *, listed: bool) -> None:
    assert judged(code, status, listed=listed).cause == cause


def test_a_key_that_is_not_valid_is_no_fault_of_the_request() -> None:
    reason = rpc("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com")
    error = judged(400, "INVALID_ARGUMENT", reason, message=f"API key not valid: {KEY}")
    assert error.cause == "credentials"
    assert KEY not in error.message


def test_a_prompt_that_is_too_long_has_openais_code() -> None:
    failure = judged(400, "INVALID_ARGUMENT", message=TOO_LONG).failure()
    assert (failure.cause, failure.code) == ("bad_request", "context_length_exceeded")
    assert failure.message == TOO_LONG
    assert judged(500, "INTERNAL", message=TOO_LONG).cause == "network"


def test_a_field_that_is_wrong_is_told_in_googles_words() -> None:
    violation = {"field": "generation_config.temperature", "description": "must be at most 2"}
    failure = judged(
        400, "INVALID_ARGUMENT", rpc("BadRequest", fieldViolations=[violation]), message="2.5!"
    ).failure()
    told = (failure.message, failure.type, failure.code)
    assert told == ("2.5!", "invalid_request_error", None)


def test_a_quota_of_the_minute_tells_its_limit_and_when_to_come_back() -> None:
    error = judged(
        429,
        "RESOURCE_EXHAUSTED",
        quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        rpc("Help", links=[{"description": "…", "url": "https://ai.google.dev"}]),
        rpc("RetryInfo", retryDelay="22.5s"),
    )
    assert error.failure().retry_after_s == 22.5
    assert error.limited == "requests"
    assert error.seen == (Seen("rpm", 10, 0, 22_500),)


def test_a_quota_of_the_day_is_waited_for_until_its_end() -> None:
    error = judged(
        429,
        "RESOURCE_EXHAUSTED",
        quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250"),
        rpc("RetryInfo", retryDelay="7s"),
    )
    assert error.limited == "day"
    [seen] = error.seen
    assert (seen.dimension, seen.limit, seen.remaining) == ("rpd", 250, 0)


def test_a_months_spending_cap_rests_the_key() -> None:
    told = "Your project has exceeded its monthly spending cap."
    assert judged(429, "RESOURCE_EXHAUSTED", message=told).cause == "credentials"
