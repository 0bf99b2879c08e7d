"""OpenRouter's form: https://openrouter.ai/docs/api-reference/overview and /errors"""

from typing import Final

import msgspec

from tests.conformance import openai_shapes as shapes
from tests.conformance.forms import Error, Exchange, Form, Json
from tests.providers.served import KEY
from tests.providers.shapes import frame

_CHAT: Final = "/api/v1/chat/completions"

_PREFERENCES: Final[Json] = {
    "models": ["a/b", "c/d"],
    "provider": {"order": ["x"], "allow_fallbacks": False, "data_collection": "deny"},
    "plugins": [{"id": "web"}],
    "reasoning": {"effort": "high", "exclude": False},
    "route": "fallback",
    "transforms": ["middle-out"],
    "usage": {"include": True},
}
_COSTS: Final[Json] = {**shapes.USAGE, "cost": 0.00042, "cost_details": {"upstream": None}}


def _preferences() -> Exchange:
    answer = shapes.completion(
        {"content": "Yes.", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text"}]},
        provider="x",
        usage=_COSTS,
    )
    return shapes.passing("preferences", _CHAT, {**shapes.HI, **_PREFERENCES}, answer)


def _preferences_stream() -> Exchange:
    chunks = [
        shapes.chunk({"role": "assistant", "content": "", "reasoning": "Hm"}, provider="x"),
        shapes.chunk({"content": "", "reasoning": "."}, provider="x"),
        shapes.chunk({"content": "Yes."}, "stop", provider="x"),
    ]
    told = shapes.assembled({"content": "Yes.", "reasoning": "Hm."}, provider="x")
    exchange = shapes.streaming(
        "preferences-stream", _CHAT, {**shapes.HI, **_PREFERENCES}, chunks, told
    )
    pings = b": OPENROUTER PROCESSING\n\n"
    answer = pings + exchange.answer.replace(b'"usage":{', b'"provider":"x","usage":{')
    return msgspec.structs.replace(exchange, answer=answer)


def _error(status: int, **metadata: object) -> bytes:
    """Write an error whose code is its status."""
    told = {"code": status, "message": "No.", "metadata": metadata}
    return msgspec.json.encode({"error": told, "user_id": "u"})


OPENROUTER: Final = Form(
    name="openrouter",
    kind="openrouter",
    base="/api/v1",
    call={"headers": (("HTTP-Referer", "https://example.org"), ("X-Title", "A house"))},
    headers={
        "authorization": f"Bearer {KEY}",
        "http-referer": "https://example.org",
        "x-title": "A house",
    },
    whole=shapes.hello(_CHAT),
    stream=shapes.hello_stream(_CHAT),
    more=(
        _preferences(),
        _preferences_stream(),
        shapes.tools(_CHAT),
        shapes.tools_stream(_CHAT),
        shapes.embeddings("/api/v1/embeddings"),
    ),
    error=_error,
    errors=(
        Error(
            name="moderation",
            status=403,
            body=_error(403, reasons=["violence"], flagged_input="…", provider_name="x"),
            cause="bad_request",
        ),
        Error(name="credits-in-200", status=200, body=_error(402), cause="credentials"),
        Error(name="upstream-in-200", status=200, body=_error(502, raw="x"), cause="network"),
        Error(
            name="hint-in-metadata",
            status=429,
            body=_error(429, headers={"Retry-After": "12"}, provider_name="x"),
            cause="rate_limited",
            retry_after_s=12,
        ),
        Error(
            name="seconds-in-metadata",
            status=429,
            body=_error(429, retry_after_seconds=21, is_byok=False),
            cause="rate_limited",
            retry_after_s=21,
        ),
    ),
    error_within=_error(503),
    error_frame=frame(
        msgspec.json.encode(
            {
                **shapes.chunk({"content": ""}, "error"),
                "error": {"code": 503, "message": "Provider disconnected"},
            }
        )
    ),
    empty=shapes.EMPTY,
)
