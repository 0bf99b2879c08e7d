"""The table from what a provider answers, or how a connection fails, to a `Failure`.

Codes and statuses decide, not the text of a message (WIRE.md 1 and 11; the exceptions, where
there is no code, are in told.py). What the client has
to mend (`bad_request`, `model_not_found`) keeps the provider's own words, code and status;
all else is ours to remedy and says what happened. No message holds the call's key.
"""

from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from pipeline.errors import Cause, Failure, UpstreamError
from pipeline.limits.seen import Limited, Seen
from workers.providers.base import Answer, ProviderCall
from workers.providers.hints import retry_after_s
from workers.providers.learning import seen, seen_in_error
from workers.providers.masking import hidden, masked
from workers.providers.told import Told, told
from workers.providers.watch import Expired, Phase


class _Form(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    code: str
    type: str = "server_error"


#: What a failure of each cause looks like, where the provider's own form does not count.
_FORMS: Final[Mapping[Cause, _Form]] = {
    "bad_request": _Form(status=400, code="invalid_request", type="invalid_request_error"),
    "model_not_found": _Form(status=404, code="model_not_found", type="invalid_request_error"),
    "rate_limited": _Form(status=429, code="rate_limit_exceeded", type="rate_limit_error"),
    "overloaded": _Form(status=503, code="upstream_overloaded"),
    "timeout": _Form(status=504, code="upstream_timeout"),
    "network": _Form(status=502, code="upstream_failed"),
    "credentials": _Form(status=502, code="upstream_credentials"),
    "interrupted": _Form(status=502, code="stream_interrupted"),
}
_CLIENTS_TO_MEND: Final[frozenset[Cause]] = frozenset({"bad_request", "model_not_found"})
#: Causes that may tell of a limit.
_LIMITING: Final[frozenset[Cause]] = frozenset({"rate_limited", "overloaded"})
_HINTED: Final[frozenset[Cause]] = frozenset({"rate_limited", "overloaded", "network", "timeout"})

#: Codes that say more than the status they come with. The quota codes come with 429 and are
#: not over by waiting: https://platform.openai.com/docs/guides/error-codes
_CODES: Final[Mapping[str, Cause]] = {
    "insufficient_quota": "credentials",
    "credit_balance_exhausted": "credentials",
    "organization_spend_limit_exceeded": "credentials",
    "project_spend_limit_exceeded": "credentials",
    "organization_usage_limit_exceeded": "credentials",
    "billing_hard_limit_reached": "credentials",
    "billing_not_active": "credentials",
    # Anthropic's, with 429: https://platform.claude.com/docs/en/api/rate-limits
    "enforced_spend_limit_reached": "credentials",
    "contract_spend_limit_reached": "credentials",
    "linked_organization_spend_limit_reached": "credentials",
    "linked_organization_billing_unavailable": "credentials",
    "account_deactivated": "credentials",
    # Google's, with 400: https://ai.google.dev/gemini-api/docs/troubleshooting
    "API_KEY_INVALID": "credentials",
    "invalid_api_key": "credentials",
    "model_not_found": "model_not_found",
    "DeploymentNotFound": "model_not_found",
    "content_filter": "bad_request",
    "content_policy_violation": "bad_request",
    "context_length_exceeded": "bad_request",
    "rate_limit_exceeded": "rate_limited",
    "slow_down": "rate_limited",
    "server_is_overloaded": "overloaded",
}
#: Error types, for an error that comes without a status of its own (in a 200 or a stream).
_TYPES: Final[Mapping[str, Cause]] = {
    "invalid_request_error": "bad_request",
    "BadRequestError": "bad_request",
    "authentication_error": "credentials",
    "permission_error": "credentials",
    "billing_error": "credentials",
    "not_found_error": "model_not_found",
    "NotFoundError": "model_not_found",
    "rate_limit_error": "rate_limited",
    "requests": "rate_limited",
    "tokens": "rate_limited",
    "overloaded_error": "overloaded",
    "service_unavailable_error": "overloaded",
    "timeout_error": "timeout",
}
#: Error types that tell of the key whatever the status: OpenAI's, and Google's for one without
#: billing where there is no free tier (https://ai.google.dev/gemini-api/docs/troubleshooting).
_REFUSES_KEYS: Final = frozenset({"insufficient_quota", "FAILED_PRECONDITION"})
#: Statuses other than 4xx (`bad_request`) and the rest (`network`).
_STATUSES: Final[Mapping[int, Cause]] = {
    401: "credentials",
    402: "credentials",
    403: "credentials",
    404: "model_not_found",
    407: "network",
    408: "timeout",
    409: "overloaded",
    425: "overloaded",
    429: "rate_limited",
    499: "network",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}
_EXCEPTIONS: Final[Mapping[type[httpx.TransportError], str]] = {
    httpx.ConnectError: "No connection to the provider",
    httpx.ProxyError: "No connection through the proxy",
    httpx.RemoteProtocolError: "The provider broke off before an answer",
    httpx.ReadError: "The connection to the provider broke",
    httpx.UnsupportedProtocol: "The provider's address is no HTTP address",
}
#: Failures that come before the request can have left us.
_UNSENT: Final = (
    httpx.ConnectTimeout, httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol,
)  # fmt: skip
_WAITS: Final[Mapping[Phase, str]] = {
    "connect": "There was no connection to the provider within {:g} s",
    "first_byte": "The provider sent no byte of an answer within {:g} s",
    "idle": "The provider sent nothing for {:g} s in the middle of its answer",
    "total": "The provider's answer was not complete within {:g} s",
}


def refused(call: ProviderCall, answer: Answer) -> UpstreamError:
    """Judge an answer that is no success, by its status, its headers and its body."""
    if answer.status == 407 and call.proxy:
        why = "The proxy refused the call (407): its user or password is not the right one."
        return failed(call, "network", why, sent=False, provider_status=407)
    return _judged(call, answer, told(hidden(answer.body, call)))


def error_within(call: ProviderCall, head: Answer, body: bytes) -> UpstreamError | None:
    """Judge the body of a success, or a frame of a stream, that may be an error; None: it is none.

    OpenRouter sends errors so once it has answered 200; vLLM sends its own without `error`.
    """
    error = told(hidden(body, call))
    return _judged(call, head, error) if error.is_error else None


def broken(call: ProviderCall, raised: httpx.TransportError) -> UpstreamError:
    """Judge a failure of the connection."""
    if isinstance(raised, httpx.ConnectTimeout):
        return overdue(call, Expired("connect", call.timeout.connect_s))
    said = next((text for kind, text in _EXCEPTIONS.items() if isinstance(raised, kind)), "")
    told = f"{said or 'The call of the provider failed'}: {raised}."
    return failed(call, "network", told, sent=not isinstance(raised, _UNSENT))


def overdue(call: ProviderCall, expired: Expired) -> UpstreamError:
    """Judge a timeout of ours."""
    said = _WAITS[expired.phase].format(expired.seconds)
    told, phase = f"{said} ({expired.phase} timeout).", expired.phase
    return failed(call, "timeout", told, sent=phase != "connect", timeout=phase)


def failed(
    call: ProviderCall, cause: Cause, message: str, *, sent: bool = True, **metadata: object
) -> UpstreamError:
    """Make the error of a call that failed without a word from the provider."""
    form = _FORMS[cause]
    return UpstreamError(
        Failure(
            message=masked(message, call),
            type=form.type,
            code=form.code,
            status=form.status,
            cause=cause,
            metadata={"provider": call.kind, **metadata},
        ),
        sent=sent,
    )


def inexpressible(call: ProviderCall, param: str, message: str) -> UpstreamError:
    """Make the error of a request that cannot be said in the provider's form: it is not called.

    Its mark lets another candidate have it, whose form may have a place for the field.
    """
    failure = failed(call, "bad_request", message, sent=False, inexpressible=True).failure()
    return UpstreamError(msgspec.structs.replace(failure, param=param), sent=False)


def withheld(call: ProviderCall, head: Answer) -> UpstreamError:
    """Make the error of an answer that the provider's filter kept to itself."""
    message = "The provider withheld its answer for its content: change the messages."
    failure = failed(call, "bad_request", message, provider_status=head.status).failure()
    return UpstreamError(
        msgspec.structs.replace(failure, code="content_filter", param="messages"),
        seen=seen(call.kind, head.headers),
    )


def empty(call: ProviderCall, head: Answer) -> UpstreamError:
    """Make the error of a success with nothing in it, as cold deployments answer."""
    error = failed(call, "overloaded", "The provider's completion is empty.")
    failure = msgspec.structs.replace(error.failure(), code="empty_completion")
    return UpstreamError(failure, seen=seen(call.kind, head.headers))


def garbage(call: ProviderCall, head: Answer, said: str, body: bytes) -> UpstreamError:
    """Make the error of a success that is not what the API promises; the body's start is told."""
    start = hidden(body, call)[:200].decode("utf-8", "replace")
    error = failed(call, "network", f"{said}: {start!r}", provider_status=head.status)
    return UpstreamError(error.failure(), seen=seen(call.kind, head.headers))


def _judged(call: ProviderCall, answer: Answer, error: Told) -> UpstreamError:
    status = answer.status if answer.status >= 300 else error.status
    cause = _cause(status, error)
    form = _FORMS[cause]
    keeps_words = cause in _CLIENTS_TO_MEND
    said = masked(error.message, call)
    told_code = masked(error.code, call) if error.code else None
    if not keeps_words:
        said = f"The provider answered {status or 'with an error'}: {said or 'nothing more'}"
    found, limited = _limits(call, answer, error, cause)
    return UpstreamError(
        Failure(
            message=said or f"The provider refused the request with status {status}.",
            type=_own_type(call, error, form) if keeps_words else form.type,
            code=_code(cause, told_code or _code_of_number(error), form),
            param=masked(error.param, call) if keeps_words and error.param else None,
            status=status if keeps_words and 400 <= status < 500 else form.status,
            cause=cause,
            retry_after_s=retry_after_s(answer.headers, error.fields) if cause in _HINTED else 0.0,
            metadata=_metadata(call, answer, told_code),
        ),
        seen=found,
        limited=limited,
    )


def _own_type(call: ProviderCall, error: Told, form: _Form) -> str:
    """Give the provider's own type; Google's is a status in capitals, which no client knows."""
    if not error.type or error.type.isupper():
        return form.type
    return masked(error.type, call)


def _limits(
    call: ProviderCall, answer: Answer, error: Told, cause: Cause
) -> tuple[tuple[Seen, ...], Limited]:
    if cause not in _LIMITING:
        return seen(call.kind, answer.headers), ""
    # An error within a success or a stream may name no status; its cause has one.
    status = (answer.status if answer.status >= 300 else error.status) or _FORMS[cause].status
    return seen_in_error(call.kind, status, answer.headers, error.fields)


def _cause(status: int, error: Told) -> Cause:
    by_code = _CODES.get(error.code or "")
    if by_code is None and error.type in _REFUSES_KEYS:
        by_code = "credentials"
    if by_code is not None:
        return by_code
    if status == 403 and error.moderated:
        return "bad_request"
    if status == 429 and error.spend_capped:
        return "credentials"
    if status == 0:
        return _TYPES.get(error.type or "", "network")
    return _STATUSES.get(status) or ("bad_request" if 400 <= status < 500 else "network")


def _code(cause: Cause, told_code: str | None, form: _Form) -> str | None:
    """Choose the code that the client sees: the provider's where it is about the request."""
    if cause == "bad_request":
        return told_code
    if cause in ("model_not_found", "rate_limited"):
        return told_code or form.code
    return form.code


def _code_of_number(error: Told) -> str | None:
    """Name what OpenRouter tells by a number and its metadata alone."""
    return "content_policy_violation" if error.moderated else None


def _metadata(call: ProviderCall, answer: Answer, code: str | None) -> dict[str, object]:
    request_id = answer.headers.get("x-request-id") or answer.headers.get("request-id")
    facts: dict[str, object] = {"provider": call.kind, "provider_status": answer.status}
    if request_id:
        facts["provider_request_id"] = masked(request_id, call)
    if code:
        facts["provider_code"] = code
    return facts
