"""Recordings in Anthropic's form: messages, events, errors, and what the client is told of them."""

from typing import Final

import msgspec

from tests.conformance.forms import Json

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

DETAIL: Final[Json] = {
    "type": "reasoning.text",
    "format": "anthropic-claude-v1",
    "index": 0,
    "text": "Hm.",
    "signature": "c2ln",
}


def message(content: list[Json], stop: str | None = "end_turn", **more: object) -> bytes:
    """Write a whole answer."""
    return msgspec.json.encode(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m-1-2026",
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 2},
            **more,
        }
    )


def event(**fields: object) -> bytes:
    """Write an event of a stream."""
    return b"event: %b\ndata: %b\n\n" % (str(fields["type"]).encode(), msgspec.json.encode(fields))


def events(*blocks: tuple[Json, list[Json]], stop: str = "end_turn") -> bytes:
    """Write a stream of these blocks, each with its deltas."""
    start = msgspec.json.decode(message([], None))
    start["usage"] = {"input_tokens": 9, "output_tokens": 1}
    parts = [event(type="message_start", message=start), event(type="ping")]
    for at, (block, deltas) in enumerate(blocks):
        parts.append(event(type="content_block_start", index=at, content_block=block))
        parts += [event(type="content_block_delta", index=at, delta=delta) for delta in deltas]
        parts.append(event(type="content_block_stop", index=at))
    ending = {"stop_reason": stop, "stop_sequence": None}
    parts.append(event(type="message_delta", delta=ending, usage={"output_tokens": 2}))
    return b"".join([*parts, event(type="message_stop")])


def told(said: Json, finish: str = "stop") -> Json:
    """Write the completion that the client is to see."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "refusal": None, **said},
        "logprobs": None,
        "finish_reason": finish,
    }
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    details = {"cached_tokens": 0, "cache_write_tokens": 0}
    return {
        "id": "msg_1",
        "object": "chat.completion",
        "model": "m-1-2026",
        "choices": [choice],
        "usage": {**usage, "prompt_tokens_details": details},
    }


def error_body(status: int, said: str = "No.", **more: object) -> bytes:
    """Write an error."""
    fallback = "api_error" if status >= 500 else "invalid_request_error"
    error = {"type": _TYPES.get(status, fallback), "message": said, **more}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": "req_1"})


def text(said: str) -> Json:
    """Write a block of text."""
    return {"type": "text", "text": said}


def thought(**more: object) -> Json:
    """Write a thought."""
    return {"type": "thinking", "thinking": "", "signature": "", **more}


def call(call_id: str, arguments: str) -> Json:
    """Write a tool call as OpenAI does."""
    function = {"name": "weather", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def used(call_id: str, **given: object) -> Json:
    """Write a tool call as Anthropic does."""
    return {"type": "tool_use", "id": call_id, "name": "weather", "input": given}
