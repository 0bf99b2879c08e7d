"""Refusals of the simulated provider; OpenAI's form of them (WIRE.md, section 1)."""

import math

import msgspec

Headers = list[tuple[bytes, bytes]]

#: HTTP status -> type and code as providers send them.
_KINDS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "credit_balance_exhausted"),
    403: ("invalid_request_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("server_error", "request_timeout"),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", "unprocessable"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", "server_error"),
    502: ("server_error", "bad_gateway"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    504: ("server_error", "gateway_timeout"),
    529: ("overloaded_error", "overloaded"),
}


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    error: ErrorDetail


class RefusalError(Exception):
    """A call that is answered with an error status and no answer; each form has its own body.

    OpenAI's type and code (`kind`) follow from the status unless given; `retry_ms` becomes both
    retry headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: tuple[str, str | None] | None = None,
        param: str | None = None,
        retry_ms: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or kind_of(status)
        self.param = param
        self.headers = retry_headers(retry_ms)

    @property
    def body(self) -> bytes:
        """The body in OpenAI's form."""
        error_type, code = self.kind
        return error_body(self.message, error_type, self.param, code)


def kind_of(status: int) -> tuple[str, str | None]:
    """Tell the type and code that go with a status."""
    fallback = "invalid_request_error" if status < 500 else "server_error"
    return _KINDS.get(status, (fallback, None))


def error_body(message: str, error_type: str, param: str | None, code: str | None) -> bytes:
    """Encode an error in OpenAI's form."""
    detail = ErrorDetail(message=message, type=error_type, param=param, code=code)
    return msgspec.json.encode(ErrorBody(error=detail))


def retry_headers(retry_ms: float | None) -> Headers:
    """Say when to come back, in both headers; whole seconds are never 0 (CLIENTS.md, B)."""
    if retry_ms is None:
        return []
    return [
        (b"retry-after-ms", b"%d" % math.ceil(retry_ms)),
        (b"retry-after", b"%d" % max(1, math.ceil(retry_ms / 1000))),
    ]
