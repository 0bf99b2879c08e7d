"""OpenAI's own form: https://platform.openai.com/docs/api-reference/chat"""

from typing import Final

from msgspec.structs import replace

from tests.conformance import openai_shapes as shapes
from tests.conformance.forms import Error, Form
from tests.providers.served import KEY

_CHAT: Final = "/v1/chat/completions"

OPENAI: Final = Form(
    name="openai",
    kind="openai",
    base="/v1",
    headers={"authorization": f"Bearer {KEY}"},
    whole=shapes.hello(_CHAT),
    stream=shapes.hello_stream(_CHAT),
    more=(
        shapes.tools(_CHAT),
        shapes.tools_stream(_CHAT),
        shapes.image(_CHAT),
        shapes.structured(_CHAT),
        shapes.embeddings("/v1/embeddings"),
        replace(
            shapes.embeddings("/v1/embeddings", input=[[1, 2], [3]], dimensions=2),
            name="embeddings-of-tokens",
        ),
    ),
    error=shapes.error_body,
    errors=(
        Error(
            name="context",
            status=400,
            body=shapes.error_body(400, code="context_length_exceeded", param="messages"),
            cause="bad_request",
            code="context_length_exceeded",
        ),
        Error(
            name="quota",
            status=429,
            body=shapes.error_body(429, type="insufficient_quota", code="insufficient_quota"),
            cause="credentials",
        ),
        Error(
            name="spent-dimension",
            status=429,
            body=shapes.error_body(429, type="tokens", code="rate_limit_exceeded"),
            headers={
                "x_ratelimit_limit_tokens": "1000",
                "x_ratelimit_remaining_tokens": "0",
                "x_ratelimit_reset_tokens": "1m30s",
            },
            cause="rate_limited",
            retry_after_s=90,
        ),
    ),
    error_frame=shapes.ERROR_FRAME,
    empty=shapes.EMPTY,
)

SIMULATED: Final = replace(OPENAI, name="simulated", kind="simulated", errors=())
