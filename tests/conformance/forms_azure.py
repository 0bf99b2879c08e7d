"""Azure's two forms: https://learn.microsoft.com/azure/ai-foundry/openai/reference"""

from typing import Final

import msgspec
from msgspec.structs import replace

from tests.conformance import openai_shapes as shapes
from tests.conformance.forms import Error, Exchange, Form, Json
from tests.providers.served import KEY
from tests.providers.shapes import DONE, frame

_V1: Final = "/openai/v1/chat/completions"
_QUERY: Final = "?api-version=2024-10-21"
_DATED: Final = f"/openai/deployments/m-1/chat/completions{_QUERY}"

_SAFE: Final[Json] = {"filtered": False, "severity": "safe"}
_FILTERS: Final[Json] = {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}
_PROMPT: Final = [{"prompt_index": 0, "content_filter_results": _FILTERS}]


def _filtered_stream(path: str) -> Exchange:
    """Record a stream that begins with the filter's results and no choice."""
    exchange = shapes.hello_stream(path)
    first = shapes.chunk(choices=[], id="", model="", prompt_filter_results=_PROMPT)
    chunks = [shapes.chunk({"role": "assistant", "content": ""})]
    chunks += [shapes.chunk({"content": "Grüße"}), shapes.chunk(finish="stop")]
    usage = shapes.chunk(choices=[], usage=shapes.USAGE)
    answer = b"".join(frame(msgspec.json.encode(one)) for one in (first, *chunks, usage))
    told = shapes.assembled({"content": "Grüße"}, prompt_filter_results=_PROMPT)
    return replace(exchange, name="filtered-stream", answer=answer + DONE, told=told)


def _filtered(path: str) -> Exchange:
    answer = shapes.completion({"content": "Grüße!"}, prompt_filter_results=_PROMPT)
    choices = answer["choices"]
    assert isinstance(choices, list)
    answer = {**answer, "choices": [{**choices[0], "content_filter_results": _FILTERS}]}
    return shapes.passing("filtered", path, shapes.HI, answer)


def _error(status: int) -> bytes:
    """Write an error as Azure's front does: its code is the status in digits."""
    return msgspec.json.encode({"error": {"code": str(status), "message": "No."}})


def _refusal(**more: object) -> bytes:
    hate = {"filtered": True, "severity": "high"}
    inner = {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {**_FILTERS, "hate": hate},
    }
    error = {"message": "Filtered.", "param": "prompt", "status": 400, "innererror": inner}
    return msgspec.json.encode({"error": {**error, **more}})


AZURE: Final = Form(
    name="azure",
    kind="azure",
    base="/openai/v1",
    headers={"api-key": KEY},
    whole=shapes.hello(_V1),
    stream=shapes.hello_stream(_V1),
    more=(
        _filtered(_V1),
        _filtered_stream(_V1),
        shapes.tools(_V1),
        shapes.tools_stream(_V1),
        shapes.image(_V1),
        shapes.structured(_V1),
        shapes.embeddings("/openai/v1/embeddings"),
    ),
    error=_error,
    errors=(
        Error(
            name="filter",
            status=400,
            body=_refusal(type=None, code="content_filter"),
            cause="bad_request",
            code="content_filter",
        ),
        Error(
            name="filter-within",
            status=400,
            body=_refusal(code="invalid_request"),
            cause="bad_request",
            code="content_filter",
        ),
        Error(
            name="no-deployment",
            status=404,
            body=b'{"error":{"code":"DeploymentNotFound","message":"There is none."}}',
            cause="model_not_found",
        ),
        Error(
            name="gateway",
            status=401,
            body=b'{"statusCode":401,"message":"Access denied due to invalid subscription key."}',
            cause="credentials",
        ),
        Error(
            name="window-of-ten-seconds",
            status=429,
            body=_error(429),
            headers={
                "x_ratelimit_remaining_requests": "0",
                "x_ms_retry_after_ms": "4200",
                "retry_after": "60",
            },
            cause="rate_limited",
            retry_after_s=4.2,
        ),
    ),
    error_frame=frame(shapes.error_body(503)),
    error_frame_cause="network",
    empty=shapes.EMPTY,
)

AZURE_DATED: Final = replace(
    AZURE,
    name="azure-dated",
    base="",
    call={"api_version": "2024-10-21"},
    whole=shapes.hello(_DATED),
    stream=shapes.hello_stream(_DATED),
    more=(
        _filtered_stream(_DATED),
        shapes.embeddings(f"/openai/deployments/m-1/embeddings{_QUERY}"),
    ),
    errors=(),
)
