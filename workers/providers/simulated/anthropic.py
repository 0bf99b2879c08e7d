"""Anthropic's wire form at the simulated provider: its paths, headers, errors and lists.

https://platform.claude.com/docs/en/api/errors and /rate-limits
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from pipeline import clock
from workers.providers.simulated.anthropic_reply import event
from workers.providers.simulated.anthropic_request import read_messages
from workers.providers.simulated.errors import Headers, RefusalError
from workers.providers.simulated.form import Chat, Place, Refused, Torn

_MODELS: Final = "/v1/models"
#: HTTP status -> type of the error.
_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_encode = msgspec.json.Encoder().encode

Fields = dict[str, object]

TORN: Final = Torn(
    garbage_body=b'{"id":"msg_garbage","type":"message","role":"assistant","conte',
    garbage_frame=b'event: content_block_delta\ndata: {"type":"content_block_delta","del\n\n',
    error_frame=event(
        {
            "type": "error",
            "error": {"type": "api_error", "message": "The simulated stream broke, as asked."},
        }
    ),
)


class AnthropicForm:
    """The Messages API."""

    torn = TORN

    def places(self) -> Mapping[str, Place]:
        return {"/v1/messages": Chat(self, read_messages)}

    def find(self, path: str) -> Place | None:  # noqa: ARG002 - every form has it
        return None

    def look_up(self, path: str, headers: Mapping[bytes, bytes], models: tuple[str, ...]) -> bytes:
        if b"anthropic-version" not in headers:
            return b""
        if path == _MODELS:
            ends = {"first_id": models[0], "last_id": models[-1], "has_more": False}
            return _encode({"data": [_model(name) for name in models], **ends})
        if path.startswith(f"{_MODELS}/"):
            return _encode(_model(path.removeprefix(f"{_MODELS}/")))
        return b""

    def key(self, headers: Mapping[bytes, bytes], query: bytes) -> str:  # noqa: ARG002 - see find
        bearer = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return headers.get(b"x-api-key", bearer).decode("latin-1")

    def refusal(self, refusal: RefusalError, call_id: bytes) -> Refused:
        fallback = "api_error" if refusal.status >= 500 else "invalid_request_error"
        where = f"{refusal.param}: " if refusal.param else ""
        error: Fields = {
            "type": _TYPES.get(refusal.status, fallback),
            "message": f"{where}{refusal.message}",
        }
        if refusal.kind[0] == "insufficient_quota" and refusal.status == 429:
            error["details"] = {"error_code": "enforced_spend_limit_reached"}
        body = _encode({"type": "error", "error": error, "request_id": _request_id(call_id)})
        return Refused(refusal.status, body, refusal.headers)

    def headers(self, call_id: bytes, took_ms: int) -> Headers:  # noqa: ARG002 - see find
        return [(b"request-id", _request_id(call_id).encode())]

    def limit_headers(self, name: bytes, limit: int, remaining: int, full_in_s: float) -> Headers:
        full_at = datetime.fromtimestamp(clock.now() + full_in_s, UTC)
        start = b"anthropic-ratelimit-" + name
        return [
            (start + b"-limit", b"%d" % limit),
            (start + b"-remaining", b"%d" % remaining),
            (start + b"-reset", full_at.isoformat(timespec="seconds").encode()),
        ]


def _request_id(call_id: bytes) -> str:
    return "req_" + call_id.decode()


def _model(name: str) -> Fields:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2023-11-14T22:13:20Z",
        "lifecycle": "active",
    }
