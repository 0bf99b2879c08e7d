"""The table from answers and broken connections to failures."""

import httpx
import msgspec
import pytest

from pipeline.errors import RETRYABLE, Cause, Failure
from tests.providers.served import BODY, KEY
from tests.providers.shapes import chunk, error
from workers.providers.base import Answer, ProviderCall
from workers.providers.verdict import broken, error_within, refused

CALL = ProviderCall(
    request_id="r", base_url="http://x", kind="openai", model="m", key=KEY, body=BODY
)


def judged(status: int, body: bytes = b"", **headers: str) -> Failure:
    """Judge an answer; `_` in a header's name stands for `-`."""
    told = {name.replace("_", "-"): text for name, text in headers.items()}
    answer = Answer(status=status, headers=httpx.Headers(told), body=body)
    return refused(CALL, answer).failure()


def within(body: bytes) -> Failure | None:
    """Judge what came with status 200."""
    found = error_within(CALL, Answer(status=200, headers=httpx.Headers()), body)
    return None if found is None else found.failure()


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, "bad_request"),
        (401, "credentials"),
        (402, "credentials"),
        (403, "credentials"),
        (404, "model_not_found"),
        (408, "timeout"),
        (409, "overloaded"),
        (413, "bad_request"),
        (422, "bad_request"),
        (429, "rate_limited"),
        (302, "network"),
        (500, "network"),
        (502, "network"),
        (503, "overloaded"),
        (504, "timeout"),
        (529, "overloaded"),
    ],
)
def test_each_status_has_its_cause(status: int, cause: Cause) -> None:
    assert judged(status).cause == cause


@pytest.mark.parametrize(
    ("status", "fields", "cause"),
    [
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, "credentials"),
        (429, {"type": "insufficient_quota", "code": "credit_balance_exhausted"}, "credentials"),
        (429, {"type": "insufficient_quota", "code": "of_tomorrow"}, "credentials"),
        (429, {"type": "tokens", "code": "rate_limit_exceeded"}, "rate_limited"),
        (429, {"type": "rate_limit_error", "code": "slow_down"}, "rate_limited"),
        (503, {"type": "service_unavailable_error", "code": "server_is_overloaded"}, "overloaded"),
        (400, {"code": "content_filter"}, "bad_request"),
        (400, {"code": "invalid_api_key"}, "credentials"),
        (403, {"code": 403, "metadata": {"reasons": ["violence"]}}, "bad_request"),
        (404, {"code": "DeploymentNotFound"}, "model_not_found"),
    ],
)
def test_a_code_says_more_than_its_status(
    status: int, fields: dict[str, object], cause: Cause
) -> None:
    assert judged(status, error(**fields)).cause == cause


def test_a_moderation_has_the_code_that_policy_fallbacks_are_for() -> None:
    failure = judged(403, error(code=403, metadata={"reasons": ["violence"]}))
    assert (failure.status, failure.code) == (403, "content_policy_violation")
    assert "provider_code" not in failure.metadata


def test_what_the_client_must_mend_keeps_the_providers_words() -> None:
    told = error(
        message="Too long.",
        type="invalid_request_error",
        param="messages",
        code="context_length_exceeded",
    )
    failure = judged(400, told, x_request_id="req_9")
    assert failure == Failure(
        message="Too long.",
        type="invalid_request_error",
        code="context_length_exceeded",
        param="messages",
        status=400,
        cause="bad_request",
        metadata={
            "provider": "openai",
            "provider_status": 400,
            "provider_request_id": "req_9",
            "provider_code": "context_length_exceeded",
        },
    )
    assert failure.cause not in RETRYABLE


def test_a_null_code_stays_null() -> None:
    assert judged(400, error(type="invalid_request_error")).code is None


def test_an_unknown_model_keeps_its_status_and_gets_its_code() -> None:
    failure = judged(404, b'{"error":"model \\"x\\" not found, try pulling it first"}')
    assert (failure.status, failure.code) == (404, "model_not_found")
    assert failure.message == 'model "x" not found, try pulling it first'


def test_what_is_ours_to_remedy_says_what_happened() -> None:
    failure = judged(429, error(message="Slow.", code="rate_limit_exceeded"), retry_after="7")
    assert failure.message == "The provider answered 429: Slow."
    assert (failure.status, failure.code) == (429, "rate_limit_exceeded")
    assert failure.retry_after_s == 7


def test_refused_credentials_are_no_fault_of_the_client() -> None:
    failure = judged(401, error(message="Wrong key.", code="invalid_api_key"))
    assert (failure.status, failure.type, failure.code) == (
        502,
        "server_error",
        "upstream_credentials",
    )
    assert failure.metadata["provider_code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><head><title>x</title></head><body><h1>Bad  Gateway</h1></body>", "Bad Gateway"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"object":"error","message":"No.","type":"BadRequestError","code":400}', "No."),
        (b'[{"error":{"code":400,"message":"No.","status":"INVALID_ARGUMENT"}}]', "No."),
        (b'{"detail":[{"loc":["body"]}]}', '[{"loc":["body"]}]'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "nothing more"),
        (b"null", "None"),
    ],
)
def test_errors_of_any_form_are_read(body: bytes, said: str) -> None:
    assert judged(500, body).message == f"The provider answered 500: {said}"


def test_long_answers_are_cut() -> None:
    assert len(judged(502, b"<p>" + b"x" * 100_000).message) < 300
    assert len(judged(400, error(message="x" * 100_000)).message) < 2100


@pytest.mark.parametrize("key", [KEY, "0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_no_message_holds_the_key(key: str, status: int) -> None:
    call = msgspec.structs.replace(CALL, key=key)
    said = "x" * 1990 + f" {key} Bearer {key}"
    body = error(message=said, type=key, code=key, param=f"a {key}")
    headers = httpx.Headers({"x-request-id": f"req-{key}"})
    for raw in (body, said.encode(), b"<p>" + key.encode()):
        answer = Answer(status=status, headers=headers, body=raw)
        failure = refused(call, answer).failure()
        assert key[:12].encode() not in msgspec.json.encode(failure)


def test_a_key_shortened_by_the_provider_is_hidden_too() -> None:
    assert "sk-" not in judged(401, error(message="Incorrect key: sk-proj-ab****wxyz.")).message


def test_the_repr_of_a_call_holds_neither_key_nor_prompt() -> None:
    call = msgspec.structs.replace(
        CALL, headers=(("x-secret", "hush-hush"),), proxy="http://u:pass@p", body=b'{"a":"prompt"}'
    )
    shown = f"{call!r} {call}"
    assert not any(secret in shown for secret in (KEY, "hush", "pass@", "prompt"))


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (error(code=429, message="Slow."), "rate_limited"),
        (error(code="402"), "credentials"),
        (error(code=502, metadata={"provider_name": "x"}), "network"),
        (error(type="overloaded_error"), "overloaded"),
        (error(type="invalid_request_error"), "bad_request"),
        (error(code="server_is_overloaded"), "overloaded"),
        (error(code="something"), "network"),
        (b'{"error":"unexpected EOF"}', "network"),
        (b'{"object":"error","message":"No.","type":"BadRequestError","code":400}', "bad_request"),
    ],
)
def test_an_error_in_a_success_is_judged_by_what_it_says(body: bytes, cause: Cause) -> None:
    failure = within(body)
    assert failure is not None
    assert failure.cause == cause
    assert failure.status >= 400


def test_a_success_is_no_error() -> None:
    assert within(chunk({"content": "a"})) is None
    assert within(b'{"id":"x","error":null}') is None
    assert within(b'{"message":"fine"}') is None


def test_each_broken_connection_is_the_networks_fault_or_a_timeout() -> None:
    request = httpx.Request("POST", "http://x")
    for kind in (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.ProxyError):
        failure = broken(CALL, kind("gone", request=request)).failure()
        assert (failure.cause, failure.status) == ("network", 502)
    late = broken(CALL, httpx.ConnectTimeout("late", request=request)).failure()
    assert (late.cause, late.status) == ("timeout", 504)
    assert "5 s" in late.message
