"""Anthropic's Messages API: https://platform.claude.com/docs/en/api/messages/create"""

from typing import Final

from tests.conformance.anthropic_shapes import (
    DETAIL,
    call,
    error_body,
    event,
    events,
    message,
    text,
    thought,
    told,
    used,
)
from tests.conformance.forms import Error, Exchange, Form, Json, Refused
from tests.conformance.openai_shapes import HI, WEATHER
from tests.providers.served import KEY

_PATH: Final = "/v1/messages"
#: What we ask for where the client does not say.
_MOST: Final = 32_000
_TOOL: Final[Json] = {
    "name": "weather",
    "strict": True,
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def _sent(*messages: Json, **more: object) -> Json:
    return {
        "model": "m-1", "max_tokens": _MOST, "messages": list(messages), "stream": False, **more
    }  # fmt: skip


def _user(*texts: str) -> Json:
    return {"role": "user", "content": [text(said) for said in texts]}


_WHOLE: Final = Exchange(
    name="whole",
    asked=HI,
    path=_PATH,
    sent=_sent(_user("hi")),
    answer=message([text("Grüße!")]),
    told=told({"content": "Grüße!"}),
)

_STREAM: Final = Exchange(
    name="stream",
    asked={**HI, "stream": True},
    path=_PATH,
    sent=_sent(_user("hi"), stream=True),
    answer=events(
        (
            text(""),
            [{"type": "text_delta", "text": "Grü"}, {"type": "text_delta", "text": "ße"}],
        )
    ),
    told=told({"content": "Grüße"}),
    stream=True,
)

_TOOLS: Final = Exchange(
    name="tools",
    asked={
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "And there?"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "Hm.",
                "reasoning_details": [DETAIL],
                "tool_calls": [call("a", '{"city":"Rom"}'), call("b", "")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Rain."},
            {"role": "tool", "tool_call_id": "b", "content": "Sun."},
            {"role": "user", "content": "And?"},
        ],
        "tools": [WEATHER],
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    },
    path=_PATH,
    sent=_sent(
        _user("And there?"),
        {
            "role": "assistant",
            "content": [
                thought(thinking="Hm.", signature="c2ln"),
                used("a", city="Rom"),
                used("b"),
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "Rain."},
                {"type": "tool_result", "tool_use_id": "b", "content": "Sun."},
                text("And?"),
            ],
        },
        system=[text("Be brief.")],
        tools=[_TOOL],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        thinking={"type": "adaptive", "display": "summarized"},
        output_config={"effort": "low"},
    ),
    answer=message([thought(thinking="Hm.", signature="c2ln"), used("c", city="Bonn")], "tool_use"),
    told=told(
        {
            "reasoning_content": "Hm.",
            "reasoning_details": [DETAIL],
            "tool_calls": [call("c", '{"city":"Bonn"}')],
        },
        "tool_calls",
    ),
)

_TOOLS_STREAM: Final = Exchange(
    name="tools-stream",
    asked={**HI, "tools": [WEATHER], "tool_choice": "required", "stream": True},
    path=_PATH,
    sent=_sent(_user("hi"), tools=[_TOOL], tool_choice={"type": "any"}, stream=True),
    answer=events(
        (
            thought(),
            [
                {"type": "thinking_delta", "thinking": "H"},
                {"type": "thinking_delta", "thinking": "m."},
                {"type": "signature_delta", "signature": "c2ln"},
            ],
        ),
        (
            used("a"),
            [
                {"type": "input_json_delta", "partial_json": ""},
                {"type": "input_json_delta", "partial_json": '{"city":'},
                {"type": "input_json_delta", "partial_json": '"Rom"}'},
            ],
        ),
        (used("b"), [{"type": "input_json_delta", "partial_json": ""}]),
        stop="tool_use",
    ),
    told=told(
        {
            "reasoning_content": "Hm.",
            "reasoning_details": [DETAIL],
            "tool_calls": [call("a", '{"city":"Rom"}'), call("b", "{}")],
        },
        "tool_calls",
    ),
    stream=True,
)

_IMAGE: Final = Exchange(
    name="image",
    asked={
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                    },
                ],
            }
        ]
    },
    path=_PATH,
    sent=_sent(
        {
            "role": "user",
            "content": [
                text("What is it?"),
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                },
            ],
        }
    ),
    answer=message([text("A dot.")]),
    told=told({"content": "A dot."}),
)

_SCHEMA: Final[Json] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
}
_STRUCTURED: Final = Exchange(
    name="structured",
    asked={
        **HI,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "number", "strict": True, "schema": _SCHEMA},
        },
    },
    path=_PATH,
    sent=_sent(_user("hi"), output_config={"format": {"type": "json_schema", "schema": _SCHEMA}}),
    answer=message([text('{"n":4}')]),
    told=told({"content": '{"n":4}'}),
)

ANTHROPIC: Final = Form(
    name="anthropic",
    kind="anthropic",
    base="",
    headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"},
    whole=_WHOLE,
    stream=_STREAM,
    more=(_TOOLS, _TOOLS_STREAM, _IMAGE, _STRUCTURED),
    refused=(
        Refused(name="choices", asked={**HI, "n": 2}, param="n"),
        Refused(name="temperature", asked={**HI, "temperature": 1.5}, param="temperature"),
        Refused(name="unknown", asked={**HI, "mystery": 1}, param="mystery"),
        Refused(
            name="json-object",
            asked={**HI, "response_format": {"type": "json_object"}},
            param="response_format",
        ),
        Refused(name="embeddings", asked={"input": "a"}, param="model", operation="embeddings"),
    ),
    error=error_body,
    errors=(
        Error(
            name="context",
            status=400,
            body=error_body(400, "prompt is too long: 208310 tokens > 200000 maximum"),
            cause="bad_request",
            code="context_length_exceeded",
        ),
        Error(
            name="spent",
            status=429,
            body=error_body(429, details={"error_code": "enforced_spend_limit_reached"}),
            cause="credentials",
        ),
        Error(
            name="spent-by-our-own-limit",
            status=400,
            body=error_body(400, "You have reached your specified API usage limits."),
            cause="credentials",
        ),
        Error(
            name="overloaded",
            status=529,
            body=error_body(529),
            cause="overloaded",
        ),
    ),
    error_frame=event(type="error", error={"type": "overloaded_error", "message": "Busy."}),
    empty=message([], None),
)
