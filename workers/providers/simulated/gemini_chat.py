"""Gemini's simulated answers as bytes, whole or as frames of a stream.

A function that must be called is called with a value for each argument that it must have, and
JSON is written by its schema. Several candidates say the same.
"""

from typing import Final

import msgspec

from workers.providers.simulated.beginning import own, raised, rest, width_of
from workers.providers.simulated.chat import (
    answer_text,
    estimate_tokens,
    length_of,
)
from workers.providers.simulated.example import example, written
from workers.providers.simulated.faults import Behaviour
from workers.providers.simulated.form import Torn
from workers.providers.simulated.gemini_request import Declaration, Generate

TORN: Final = Torn(
    garbage_body=b'{"candidates":[{"content":{"parts":[{"te',
    garbage_frame=b'data: {"candidates":[{"content":{"parts":[{"te\r\n\r\n',
    error_frame=b'data: {"error":{"code":500,"message":"The simulated stream broke, as asked.",'
    b'"status":"INTERNAL"}}\r\n\r\n',
)

_THOUGHT: Final = "Simulated thought, as asked."
_SIGNATURE: Final = "c2ltdWxhdGVk"

_encode = msgspec.json.Encoder().encode
Parts = list[dict[str, object]]


class GeminiChat(msgspec.Struct, frozen=True):
    """A chat request: the model and the way to answer from the path, the rest from the body."""

    model: str
    streams: bool
    asked: Generate
    simulate: msgspec.Raw = msgspec.Raw()

    def cost(self, behaviour: Behaviour) -> int:
        choices = self.asked.generation_config.candidate_count
        return self.asked.prompt_tokens() + choices * self.length(behaviour)[0]

    def length(self, behaviour: Behaviour) -> tuple[int, bool]:
        """Tell how many tokens the answer has, and whether it is cut there."""
        if self.called() is not None:
            return (0 if behaviour.says_nothing else 1), False
        most = self.asked.generation_config.max_output_tokens
        return length_of(behaviour, raised(most, self.beginning(), behaviour), self.fixed())

    def beginning(self) -> str:
        """Return what the answer is to go on from; empty: from nothing."""
        return own(self.asked.beginning(), self.fixed())

    def fixed(self) -> str:
        """Write the JSON that has to be said; empty: anything will do."""
        config = self.asked.generation_config
        if config.response_mime_type != "application/json":
            return ""
        return written(config.response_json_schema)

    def called(self) -> Declaration | None:
        """Find the function that must be called."""
        config = self.asked.tool_config.function_calling_config
        declared = self.asked.declared()
        if config.mode != "ANY":
            return None
        return declared[next(iter(config.allowed_function_names or declared))]

    def written(self, behaviour: Behaviour, call_id: bytes, created: int) -> "GeminiReply":  # noqa: ARG002 - every form has it
        return GeminiReply(self, behaviour, call_id)


class GeminiReply:
    """The bytes of one answer, whole (`body`) or as frames (`head`, `frames`, `tail`)."""

    __slots__ = ("_call", "_call_id", "_finish", "_request", "_text", "_thinks", "_width", "tokens")

    def __init__(self, request: GeminiChat, behaviour: Behaviour, call_id: bytes) -> None:
        self.tokens, cut = request.length(behaviour)
        self._finish = "SAFETY" if behaviour.withheld else "MAX_TOKENS" if cut else "STOP"
        self._request = request
        self._call = request.called()
        self._call_id = call_id.decode()
        self._width = width_of(behaviour)
        self._thinks = request.asked.generation_config.thinking_config.include_thoughts
        echo = request.asked.echo()
        if behaviour.delta_bytes:
            echo = echo.encode("ascii", "replace").decode()
        characters = self.tokens * self._width
        self._text = request.fixed()[:characters] or answer_text(echo, characters)
        if beginning := request.beginning():
            self._text, self.tokens = rest(self._text, beginning, behaviour)

    def body(self) -> bytes:
        """Return the whole answer, on many lines as the API writes it."""
        parts = [*self._thoughts(), *self._parts(0, self.tokens)]
        return msgspec.json.format(self._answer(parts, self.tokens, ends=True), indent=2)

    def head(self) -> bytes:
        """Return the frame of the thoughts, if they were asked for."""
        return self._frame(self._thoughts(), 0) if self._thinks else b""

    def frames(self, first: int, last: int) -> bytes:
        """Return the frames of the tokens from `first` up to, not including, `last`."""
        return b"".join(self._frame(self._parts(at, at + 1), at + 1) for at in range(first, last))

    def tail(self) -> bytes:
        """Return the frame that ends the stream."""
        return self._frame([{"text": ""}], self.tokens, ends=True)

    def _thoughts(self) -> Parts:
        return [{"text": _THOUGHT, "thought": True}] if self._thinks else []

    def _parts(self, first: int, last: int) -> Parts:
        if self._call is None:
            return [{"text": self._text[first * self._width : last * self._width]}]
        if first == last:
            return []
        schema = self._call.parameters_json_schema or self._call.parameters or {}
        args = example(schema) if schema.get("required") else {}
        call = {"name": self._call.name, "args": args, "id": f"c{self._call_id[:12]}"}
        return [{"functionCall": call, "thoughtSignature": _SIGNATURE}]

    def _frame(self, parts: Parts, tokens: int, *, ends: bool = False) -> bytes:
        return b"data: " + self._answer(parts, tokens, ends=ends) + b"\r\n\r\n"

    def _answer(self, parts: Parts, tokens: int, *, ends: bool) -> bytes:
        candidate: dict[str, object] = {"content": {"parts": parts, "role": "model"}}
        if ends:
            candidate["finishReason"] = self._finish
        count = self._request.asked.generation_config.candidate_count
        answer = {
            "candidates": [{**candidate, "index": index} for index in range(count)],
            "usageMetadata": self._usage(count * tokens),
            "modelVersion": self._request.model,
            "responseId": self._call_id,
        }
        return _encode(answer)

    def _usage(self, tokens: int) -> dict[str, int]:
        prompt = self._request.asked.prompt_tokens()
        thoughts = estimate_tokens(len(_THOUGHT)) if self._thinks else 0
        usage = {"promptTokenCount": prompt, "totalTokenCount": prompt + tokens + thoughts}
        # The API leaves out what it counts none of.
        counted = {"candidatesTokenCount": tokens, "thoughtsTokenCount": thoughts}
        return usage | {name: count for name, count in counted.items() if count}
