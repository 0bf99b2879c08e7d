"""Failures as clients read them: OpenAI's body, and the headers that steer their retries.

What the official clients make of each header is in CLIENTS.md B.
"""

import math
from typing import Final

import msgspec

from gateway.exchange import JSON_TYPE, Exchange
from gateway.quota_headers import refusal_headers
from pipeline.errors import Cause, Failure

#: Statuses that clients try again by themselves.
_RETRIED: Final = frozenset({408, 409, 429})

#: Older clients ignore a longer wait and come back at once, so they are told to stay away.
_LONGEST_RETRY_S: Final = 60.0

#: What another try would not mend, although its status says so.
_FUTILE_CODES: Final = frozenset(
    {"budget_exceeded", "insufficient_quota", "upstream_credentials_exhausted"}
)
_FUTILE_CAUSES: Final[frozenset[Cause]] = frozenset({"poison", "cancelled"})

STOPPING: Final = Failure(
    message="This gateway is stopping; the request goes on and can be asked for by its id.",
    code="stream_interrupted",
    status=503,
    cause="interrupted",
)
LOST: Final = Failure(
    message="The request's record is gone: it was purged, or Redis lost it.", code="server_error"
)
BROKEN: Final = Failure(message="The gateway failed on this request.", code="internal_error")
CUT: Final = Failure(
    message="The gateway failed in the middle of this stream.",
    code="stream_interrupted",
    cause="interrupted",
)
RESTARTED: Final = Failure(
    message="The stream was cut: the call was begun anew after parts of its answer had gone out.",
    code="stream_interrupted",
    status=502,
    cause="interrupted",
)


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's error object, and our facts in `metadata`; absent values are null."""

    message: str
    type: str
    param: str | None
    code: str | None
    metadata: dict[str, object]


def error_body(failure: Failure, request_id: str) -> ErrorBody:
    """Give the error object of a failure."""
    metadata = {**failure.metadata, "request_id": request_id}
    if failure.retry_after_s > 0:
        metadata["retry_after_ms"] = math.ceil(failure.retry_after_s * 1000)
    return ErrorBody(
        message=failure.message,
        type=failure.type,
        param=failure.param,
        code=failure.code,
        metadata=metadata,
    )


def error_json(failure: Failure, request_id: str) -> bytes:
    """Give the JSON of an error answer, which is also that of an error in an OpenAI stream."""
    return msgspec.json.encode({"error": error_body(failure, request_id)})


def retry_headers(failure: Failure) -> list[tuple[bytes, bytes]]:
    """Say whether to come back, and when: at least a second from now."""
    transient = failure.status in _RETRIED or failure.status >= 500
    futile = (
        failure.code in _FUTILE_CODES
        or failure.type == "insufficient_quota"
        or failure.cause in _FUTILE_CAUSES
        or failure.retry_after_s > _LONGEST_RETRY_S
    )
    should = (b"x-should-retry", b"true" if transient and not futile else b"false")
    if not transient:
        return [should]
    wait_s = max(1.0, failure.retry_after_s)
    return [
        should,
        (b"retry-after", b"%d" % math.ceil(wait_s)),
        (b"retry-after-ms", b"%d" % math.ceil(wait_s * 1000)),
    ]


async def refuse(exchange: Exchange, failure: Failure) -> None:
    """Answer with an error, of which nothing has been sent yet."""
    body = error_json(failure, exchange.request_id)
    status = failure.status if 400 <= failure.status <= 599 else 500
    headers = [JSON_TYPE, *retry_headers(failure), *refusal_headers(failure)]
    await exchange.answer(status, body, headers)
