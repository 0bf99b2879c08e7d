"""Recordings in OpenAI's form, which many kinds share: requests, answers, frames, errors."""

from collections.abc import Mapping
from typing import Final

import msgspec

from tests.conformance.forms import Exchange, Json
from tests.providers.shapes import DONE, frame

HI: Final[Json] = {"messages": [{"role": "user", "content": "hi"}]}
USAGE: Final[Json] = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}

WEATHER: Final[Json] = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def chunk(delta: Json | None = None, finish: str | None = None, **more: object) -> Json:
    """Write a chunk; a shorter one than OpenAI's, with all that has to be there."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    told = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m-1-2026"}
    return {**told, "choices": [choice], **more}


def frames(*chunks: Json) -> bytes:
    """Write a stream of these chunks and one that tells the usage."""
    last = chunk(choices=[], usage=USAGE)
    return b"".join(frame(msgspec.json.encode(one)) for one in (*chunks, last)) + DONE


def completion(message: Json, finish: str = "stop", **more: object) -> Json:
    """Write a whole completion."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    told = {"id": "c-1", "object": "chat.completion", "created": 7, "model": "m-1-2026"}
    return {**told, "choices": [choice], "usage": USAGE, **more}


def assembled(message: Json, finish: str = "stop", **more: object) -> Json:
    """Write what a stream's chunks add up to."""
    whole = completion({"content": None, "refusal": None, **message}, finish, **more)
    choices = whole["choices"]
    assert isinstance(choices, list)
    return {**whole, "choices": [{"logprobs": None, **choices[0]}]}


def passing(
    name: str, path: str, asked: Json, answer: Json, sent: Mapping[str, object] | None = None
) -> Exchange:
    """Record a whole answer that comes back as it is; `sent` is what differs of the request."""
    return Exchange(
        name=name,
        asked=asked,
        path=path,
        sent={"model": "m-1", "stream": False, **asked, **(sent or {})},
        answer=msgspec.json.encode(answer),
        told=answer,
    )


def streaming(name: str, path: str, asked: Json, chunks: list[Json], told: Json) -> Exchange:
    """Record a stream."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return Exchange(
        name=name,
        asked={**asked, "stream": True},
        path=path,
        sent={"model": "m-1", **asked, **options},
        answer=frames(*chunks),
        told=told,
        stream=True,
    )


def hello(path: str) -> Exchange:
    """Record the shortest whole answer."""
    return passing("whole", path, HI, completion({"content": "Grüße!"}))


def hello_stream(path: str) -> Exchange:
    """Record a short stream."""
    chunks = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Grü"})]
    chunks += [chunk({"content": "ße"}), chunk(finish="stop")]
    return streaming("stream", path, HI, chunks, assembled({"content": "Grüße"}))


def tools_stream(path: str) -> Exchange:
    """Record two tool calls at once, in pieces."""
    asked = {**HI, "tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": True}
    calls = [_call(0, "a", "weather", ""), _call(0, None, None, '{"city":')]
    calls += [_call(0, None, None, '"Rom"}'), _call(1, "b", "weather", '{"city":"Bonn"}')]
    chunks = [chunk({"role": "assistant", "content": None})]
    chunks += [chunk({"tool_calls": [call]}) for call in calls]
    chunks += [chunk(finish="tool_calls")]
    told = [_told("a", '{"city":"Rom"}'), _told("b", '{"city":"Bonn"}')]
    return streaming("tools-stream", path, asked, chunks, assembled(
        {"tool_calls": told}, "tool_calls"
    ))  # fmt: skip


def tools(path: str) -> Exchange:
    """Record a conversation with a tool's result, and another call of it."""
    call = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "And there?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "Rain."},
    ]
    asked = {"messages": messages, "tools": [WEATHER]}
    answer = completion({"content": None, "tool_calls": [{**call, "id": "b"}]}, "tool_calls")
    return passing("tools", path, asked, answer)


def image(path: str) -> Exchange:
    """Record an image in a message."""
    picture = {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": picture}]
    asked = {"messages": [{"role": "user", "content": parts}]}
    return passing("image", path, asked, completion({"content": "A dot."}))


def structured(path: str) -> Exchange:
    """Record an answer that follows a schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"name": "number", "strict": True, "schema": schema}
    asked = {**HI, "response_format": {"type": "json_schema", "json_schema": wanted}}
    answer = completion({"content": '{"n":4}', "refusal": None}, service_tier="default")
    return passing("structured", path, asked, answer)


def embeddings(path: str, **asked: object) -> Exchange:
    """Record a batch of embeddings, as the official client asks: in base64."""
    asked = {"input": ["a", "b"], "encoding_format": "base64", **asked}
    vectors = ("AACAPwAAAEA=", "AABAQAAAgEA=")
    data = [{"object": "embedding", "index": at, "embedding": v} for at, v in enumerate(vectors)]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    answer = {"object": "list", "data": data, "model": "m-1", "usage": usage}
    return Exchange(
        name="embeddings",
        asked=asked,
        path=path,
        sent={"model": "m-1", **asked},
        answer=msgspec.json.encode(answer),
        told=answer,
        operation="embeddings",
    )


def error_body(status: int, **more: object) -> bytes:
    """Write an error as OpenAI does."""
    kind = "invalid_request_error" if status < 429 else "server_error"
    told = {"message": "No.", "type": kind, "param": None, "code": None, **more}
    return msgspec.json.encode({"error": told})


EMPTY: Final = msgspec.json.encode(
    {"id": "c-1", "object": "chat.completion", "created": 7, "model": "m-1", "choices": []}
)
ERROR_FRAME: Final = frame(error_body(503, code="server_is_overloaded"))


def _call(index: int, call_id: str | None, name: str | None, arguments: str) -> Json:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    told: dict[str, object] = {"index": index, "function": function}
    return told | ({"id": call_id, "type": "function"} if call_id else {})


def _told(call_id: str, arguments: str) -> Json:
    function = {"name": "weather", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}
