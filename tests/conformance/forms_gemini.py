"""Gemini's form: https://ai.google.dev/api/generate-content and /api/embeddings"""

from typing import Final

import msgspec

from tests.conformance import openai_shapes as shapes
from tests.conformance.forms import Error, Exchange, Form, Json, Refused
from tests.providers.served import KEY
from tests.providers.shapes import frame

_WHOLE: Final = "/v1beta/models/m-1:generateContent"
_STREAM: Final = "/v1beta/models/m-1:streamGenerateContent?alt=sse"
_USER: Final[Json] = {"role": "user", "parts": [{"text": "hi"}]}
_COUNTED: Final[Json] = {
    "promptTokenCount": 9,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 2,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 14,
}
_USAGE: Final[Json] = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def _generated(*parts: Json, finish: str | None = "STOP", **more: object) -> Json:
    candidate: dict[str, object] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    named = {"modelVersion": "m-1-2026", "responseId": "c-1"}
    return {"candidates": [candidate], "usageMetadata": _COUNTED, **named, **more}


def _frames(*answers: Json) -> bytes:
    return b"".join(frame(msgspec.json.encode(one)) for one in answers)


def _told(message: Json, finish: str = "stop", **more: object) -> Json:
    whole = shapes.assembled(message, finish, usage=_USAGE, **more)
    return {name: value for name, value in whole.items() if name != "created"}


def _exchange(name: str, asked: Json, sent: Json, *parts: Json, told: Json) -> Exchange:
    answer = msgspec.json.encode(_generated(*parts))
    return Exchange(name=name, asked=asked, path=_WHOLE, sent=sent, answer=answer, told=told)


def _hello() -> Exchange:
    answer, told = {"text": "Hello"}, _told({"content": "Hello"})
    return _exchange("hello", shapes.HI, {"contents": [_USER]}, answer, told=told)


def _hello_stream() -> Exchange:
    thought = {"text": "A greeting.", "thought": True}
    answer = _frames(
        _generated(thought, finish=None),
        _generated({"text": "Grüße, "}, finish=None),
        _generated({"text": "Welt 🌍", "thoughtSignature": "c2ln"}),
    )
    signed = {"google": {"thought_signature": "c2ln"}}
    message = {"content": "Grüße, Welt 🌍", "reasoning_content": "A greeting."}
    return Exchange(
        name="hello-stream",
        asked=shapes.HI,
        path=_STREAM,
        sent={"contents": [_USER]},
        answer=answer,
        told=_told({**message, "extra_content": signed}),
        stream=True,
    )


def _calls() -> Json:
    """Write two calls of one turn, of which the first is signed."""
    made = [
        {"id": at, "type": "function", "function": {"name": "weather", "arguments": city}}
        for at, city in (("w1", '{"city":"Paris"}'), ("w2", '{"city":"Rome"}'))
    ]
    signed = {"google": {"thought_signature": "c2ln"}}
    return {"tool_calls": [{**made[0], "extra_content": signed}, made[1]]}


_CALL_PARTS: Final[tuple[Json, ...]] = (
    {
        "functionCall": {"id": "w1", "name": "weather", "args": {"city": "Paris"}},
        "thoughtSignature": "c2ln",
    },
    {"functionCall": {"id": "w2", "name": "weather", "args": {"city": "Rome"}}},
)


def _tools() -> Exchange:
    """Record a turn with two calls and their results, which leads to two more calls."""
    function = shapes.WEATHER["function"]
    assert isinstance(function, dict)
    declared = {"name": "weather", "parametersJsonSchema": function["parameters"]}
    responses = [
        {"functionResponse": {"id": at, "name": "weather", "response": response}}
        for at, response in (("w1", {"output": "sunny"}), ("w2", {"sky": "grey"}))
    ]
    return _exchange(
        "tools",
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": None, **_calls()},
                {"role": "tool", "tool_call_id": "w1", "content": "sunny"},
                {"role": "tool", "tool_call_id": "w2", "content": '{"sky":"grey"}'},
            ],
            "tools": [shapes.WEATHER],
            "tool_choice": "required",
        },
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                _USER,
                {"role": "model", "parts": list(_CALL_PARTS)},
                {"role": "user", "parts": responses},
            ],
            "tools": [{"functionDeclarations": [declared]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        },
        *_CALL_PARTS,
        told=_told(_calls(), "tool_calls"),
    )


def _tools_stream() -> Exchange:
    answer = _frames(_generated(*_CALL_PARTS, finish=None), _generated({"text": ""}))
    asked, sent = _tools().asked, _tools().sent
    told = _told(_calls(), "tool_calls")
    return Exchange(
        name="tools-stream", asked=asked, path=_STREAM, sent=sent, answer=answer, told=told,
        stream=True,
    )  # fmt: skip


def _image() -> Exchange:
    urls = ("data:image/png;base64,iVBORw0KGgo=", "https://example.org/a.jpeg?x=1")
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return _exchange(
        "image",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, *parts]}]},
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "hi"},
                        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                        {"fileData": {"mimeType": "image/jpeg", "fileUri": urls[1]}},
                    ],
                }
            ]
        },
        {"text": "A cat"},
        told=_told({"content": "A cat"}),
    )


def _structured() -> Exchange:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = {"name": "a", "strict": True, "schema": schema}
    config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    return _exchange(
        "structured",
        {**shapes.HI, "response_format": {"type": "json_schema", "json_schema": asked}},
        {"contents": [_USER], "generationConfig": config},
        {"text": '{"a":1}'},
        told=_told({"content": '{"a":1}'}),
    )


def _embeddings() -> Exchange:
    vectors = {"embeddings": [{"values": [0.5, -1]}, {"values": [1, 2]}]}
    model = "models/m-1"
    told = [
        {"object": "embedding", "index": at, "embedding": vector}
        for at, vector in enumerate(("AAAAPwAAgL8=", "AACAPwAAAEA="))
    ]
    return Exchange(
        name="embeddings",
        operation="embeddings",
        asked={"input": ["a", "b"], "encoding_format": "base64", "dimensions": 2},
        path="/v1beta/models/m-1:batchEmbedContents",
        sent={
            "requests": [
                {"model": model, "content": {"parts": [{"text": one}]}, "outputDimensionality": 2}
                for one in "ab"
            ]
        },
        answer=msgspec.json.encode({**vectors, "usageMetadata": {"promptTokenCount": 3}}),
        told={
            "object": "list",
            "data": told,
            "model": "m-1",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        },
    )


def _error(status: int, *details: Json, name: str = "", message: str = "No.") -> bytes:
    names = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
             429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}  # fmt: skip
    told = {"code": status, "message": message, "status": name or names.get(status, "INTERNAL")}
    return msgspec.json.encode({"error": {**told, "details": details} if details else told})


def _rpc(kind: str, **fields: object) -> Json:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


def _refused(name: str, param: str, **asked: object) -> Refused:
    return Refused(name=name, param=param, asked={**shapes.HI, **asked})


_QUOTA: Final = {
    "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
    "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    "quotaDimensions": {"location": "global", "model": "m-1"},
    "quotaValue": "10",
}

GEMINI: Final = Form(
    name="gemini",
    kind="gemini",
    base="",
    headers={"x-goog-api-key": KEY},
    whole=_hello(),
    stream=_hello_stream(),
    more=(_tools(), _tools_stream(), _image(), _structured(), _embeddings()),
    refused=(
        _refused("logit-bias", "logit_bias", logit_bias={"1": -100}),
        _refused("one-call-at-a-time", "parallel_tool_calls", parallel_tool_calls=False),
        _refused("unknown-field", "top_a", top_a=0.5),
        _refused("unknown-part", "messages[0].content[0].type",
                 messages=[{"role": "user", "content": [{"type": "video_url"}]}]),
        _refused("unknown-call", "messages[1].tool_call_id",
                 messages=[*shapes.HI["messages"],  # type: ignore[misc]
                           {"role": "tool", "tool_call_id": "x", "content": ""}]),
        Refused(name="tokens", operation="embeddings", asked={"input": [1, 2]}, param="input[0]"),
    ),
    error=_error,
    errors=(
        Error(
            name="bad-key",
            status=400,
            body=_error(400, _rpc("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com")),
            cause="credentials",
        ),
        Error(
            name="no-billing",
            status=400,
            body=_error(400, name="FAILED_PRECONDITION"),
            cause="credentials",
        ),
        Error(
            name="context",
            status=400,
            body=_error(
                400,
                message="The input token count (1200293) exceeds the maximum number of tokens "
                "allowed (1048576).",
            ),
            cause="bad_request",
            code="context_length_exceeded",
        ),
        Error(
            name="quota",
            status=429,
            body=_error(
                429,
                _rpc("QuotaFailure", violations=[_QUOTA]),
                _rpc("Help", links=[]),
                _rpc("RetryInfo", retryDelay="22s"),
            ),
            cause="rate_limited",
            retry_after_s=22,
        ),
    ),
    error_within=_error(503),
    error_frame=frame(_error(503)),
    empty=msgspec.json.encode(_generated(finish=None)),
)  # fmt: skip
