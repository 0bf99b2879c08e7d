"""Streams that break off at any byte, errors within them, and Anthropic's errors by their types."""

import httpx
import msgspec
import pytest

from pipeline.errors import Cause, Failure, UpstreamError
from pipeline.limits.seen import Seen
from tests.conformance.anthropic_shapes import error_body, event, events, text, thought, used
from tests.providers.anthropic.translated import Fields, call_of
from workers.providers import verdict
from workers.providers.anthropic.reader import MessageReader
from workers.providers.anthropic.translation import Anthropic
from workers.providers.base import Answer

RICH = events(
    (
        thought(),
        [
            {"type": "thinking_delta", "thinking": "Grüß"},
            {"type": "signature_delta", "signature": "c2ln"},
        ],
    ),
    (text(""), [{"type": "text_delta", "text": "Wé🌍"}, {"type": "text_delta", "text": '"\\n'}]),
    (used("a"), [{"type": "input_json_delta", "partial_json": '{"city":"Köln"}'}]),
    (used("b"), []),
    stop="tool_use",
)
#: Where the answer is complete: what follows may be lost.
COMPLETE = RICH.index(b"event: message_stop")


def read(*pieces: bytes) -> tuple[list[Fields], MessageReader]:
    """Read a stream in pieces, and its end."""
    head = Answer(status=200, headers=httpx.Headers())
    reading = Anthropic().reader(call_of({}, stream=True), head)
    given = [reading.feed(piece) for piece in pieces]
    if not (reading.finished or reading.failure):
        given.append(reading.end())
    chunks = [chunk for deltas in given if deltas for chunk in deltas.chunks]
    return [{**msgspec.json.decode(chunk), "created": 0} for chunk in chunks], reading


def judged(status: int, body: bytes, **headers: str) -> tuple[Failure, UpstreamError]:
    """Judge an error."""
    told = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    error = verdict.refused(call_of({}), Answer(status=status, headers=told, body=body))
    return error.failure(), error


def test_a_stream_may_be_cut_into_pieces_anywhere() -> None:
    whole, _ = read(RICH)
    for at in range(len(RICH) + 1):
        chunks, reading = read(RICH[:at], RICH[at:])
        assert reading.failure is None
        assert chunks == whole
    assert read(*(RICH[at : at + 1] for at in range(len(RICH))))[0] == whole


def test_a_stream_that_breaks_off_anywhere_is_whole_or_a_failure() -> None:
    whole, _ = read(RICH)
    for at in range(len(RICH)):
        chunks, reading = read(RICH[:at])
        assert chunks == whole[: len(chunks)]
        if reading.failure is None:
            assert at >= COMPLETE - len(b"\n\n")
            assert len(chunks) == len(whole)
        else:
            cause = "interrupted" if chunks else "network"
            assert reading.failure.failure().cause == cause


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("overloaded_error", "overloaded"),
        ("api_error", "network"),
        ("rate_limit_error", "rate_limited"),
        ("timeout_error", "timeout"),
        ("billing_error", "credentials"),
        ("invalid_request_error", "bad_request"),
    ],
)
def test_an_error_ends_a_stream_with_its_cause(kind: str, cause: Cause) -> None:
    told = event(type="error", error={"type": kind, "message": "Busy."})
    for before in (0, 1, 3, 6):
        started = b"".join(one + b"\n\n" for one in RICH.split(b"\n\n")[:before])
        chunks, reading = read(started + told + RICH)
        assert reading.failure is not None
        assert reading.failure.failure().cause == cause
        assert bool(chunks) == (before > 3)


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        (400, "invalid_request_error", "bad_request"),
        (401, "authentication_error", "credentials"),
        (402, "billing_error", "credentials"),
        (403, "permission_error", "credentials"),
        (404, "not_found_error", "model_not_found"),
        (409, "conflict_error", "overloaded"),
        (413, "request_too_large", "bad_request"),
        (429, "rate_limit_error", "rate_limited"),
        (500, "api_error", "network"),
        (504, "timeout_error", "timeout"),
        (529, "overloaded_error", "overloaded"),
    ],
)
def test_each_error_has_its_cause(status: int, kind: str, cause: Cause) -> None:
    failure, _ = judged(status, error_body(status, type=kind), request_id="req_9")
    assert failure.cause == cause
    assert failure.metadata["provider_request_id"] == "req_9"
    if cause in ("bad_request", "model_not_found"):
        assert (failure.status, failure.type, failure.message) == (status, kind, "No.")


@pytest.mark.parametrize(
    "said",
    [
        "prompt is too long: 208310 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000, decrease",
    ],
)
def test_a_prompt_that_is_too_long_has_openais_code(said: str) -> None:
    failure, _ = judged(400, error_body(400, said))
    assert (failure.cause, failure.code) == ("bad_request", "context_length_exceeded")
    assert failure.message == said


def test_only_anthropics_words_stand_for_a_code() -> None:
    said = "prompt is too long: 2 tokens > 1 maximum"
    other = msgspec.json.encode({"error": {"type": "invalid_request_error", "message": said}})
    assert judged(400, other)[0].code is None
    assert judged(400, error_body(400, f"I said: {said}"))[0].code is None
    assert judged(429, error_body(429, said))[0].cause == "rate_limited"


@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (429, "enforced_spend_limit_reached", "credentials"),
        (429, "contract_spend_limit_reached", "credentials"),
        (429, "linked_organization_spend_limit_reached", "credentials"),
        (429, "ramp_limit_exceeded", "rate_limited"),
    ],
)
def test_the_code_of_an_errors_details_decides(status: int, code: str, cause: Cause) -> None:
    failure, _ = judged(status, error_body(status, details={"error_code": code}))
    assert failure.cause == cause
    assert failure.metadata["provider_code"] == code


def test_our_own_spend_limit_is_no_fault_of_the_request() -> None:
    said = "You have reached your specified workspace API usage limits. You will regain access on"
    assert judged(400, error_body(400, f"{said} 2026-12-01."))[0].cause == "credentials"


def test_the_limits_of_a_refusal_are_learned() -> None:
    failure, error = judged(
        429,
        error_body(429),
        retry_after="7",
        anthropic_ratelimit_requests_limit="50",
        anthropic_ratelimit_requests_remaining="0",
    )
    assert failure.retry_after_s == 7
    assert error.seen == (Seen("rpm", 50, 0, -1),)
    assert error.limited == "requests"
