"""What a provider would answer, written by the stand-in."""

import msgspec

from pipeline.event import Usage

USAGE = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
WORDS = ("Hello", ", ", "world", "!")


def chunk(content: str | None = None, finish: str | None = None, role: str = "") -> bytes:
    """Write a chunk as a provider would."""
    delta = {"content": content} if content is not None else {}
    if role:
        delta["role"] = role
    return msgspec.json.encode(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "standin",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def usage_chunk() -> bytes:
    """Write the chunk that tells the usage."""
    whole = msgspec.json.decode(chunk())
    return msgspec.json.encode({**whole, "choices": [], "usage": msgspec.to_builtins(USAGE)})


def completion(content: str) -> bytes:
    """Write a whole response."""
    return msgspec.json.encode(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "standin",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": msgspec.to_builtins(USAGE),
        }
    )
