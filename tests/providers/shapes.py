"""OpenAI's objects as they come over the wire."""

import msgspec

WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m-1-2024",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null,'
    b'"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,'
    b'"completion_tokens":1,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":0}},'
    b'"service_tier":"default","system_fingerprint":"fp_1"}'
)

DONE = b"data: [DONE]\n\n"


def chunk(
    delta: dict[str, object] | None = None, finish: str | None = None, **changes: object
) -> bytes:
    """Make the JSON of one chunk of a chat stream."""
    fields: dict[str, object] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m-1-2024",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    return msgspec.json.encode(fields | changes)


def frame(data: bytes) -> bytes:
    """Make an event of its data."""
    return b"data: " + data + b"\n\n"


USAGE = chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11})
CHUNKS = [
    chunk({"role": "assistant", "content": "", "refusal": None}),
    chunk({"content": "Grüße, "}),
    chunk({"content": "Welt 🌍"}),
    chunk(finish="stop"),
    USAGE,
]
STREAM = b"".join(map(frame, CHUNKS)) + DONE


def error(**fields: object) -> bytes:
    """Make the JSON of an error in OpenAI's form."""
    told: dict[str, object] = {"message": "No.", "type": None, "param": None, "code": None}
    return msgspec.json.encode({"error": told | fields})
