"""Writes simulated answers in Anthropic's form, whole or as the events of a stream.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from typing import Final

import msgspec

from workers.providers.simulated.beginning import CHARACTERS_PER_TOKEN
from workers.providers.simulated.chat import answer_text

THOUGHT: Final = "The user wants an answer; a simulated one will do."
SIGNATURE: Final = "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="
_THOUGHT_TOKENS: Final = -(-len(THOUGHT) // CHARACTERS_PER_TOKEN)

_encode = msgspec.json.Encoder().encode

Fields = dict[str, object]


def event(fields: Fields) -> bytes:
    """Write an event, whose name is its type."""
    return b"event: %b\ndata: %b\n\n" % (str(fields["type"]).encode(), _encode(fields))


def message_text(echo: str, characters: int, *, plain: bool) -> str:
    """Write an answer; a plain one can be cut anywhere, as bytes and within JSON."""
    if not plain:
        return answer_text(echo, characters)
    text = answer_text(echo.encode("ascii", "replace").decode(), characters)
    return text.replace('"', "'").replace("\\", "/")


class MessageReply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: a thought if asked for, then text, or a call of a tool."""

    model: str
    call_id: bytes
    prompt_tokens: int
    #: Each a delta of the text, or of the call's arguments.
    tokens: int
    #: Whether the answer ends at the most that it may take.
    cut: bool
    #: Characters in each delta.
    width: int
    text: str
    #: Whether the text is the JSON that was asked for; a call's, all of its arguments.
    fixed: bool
    thinks: bool
    withheld: bool
    #: Calls this one; empty: none.
    tool: str

    def body(self) -> bytes:
        """Return the whole answer."""
        content: list[Fields] = []
        if self.thinks:
            content.append(_thinking(THOUGHT, SIGNATURE))
        if self.tokens:
            block = self._block(self.text)
            if self.tool:
                block["input"] = self._input()
            content.append(block)
        return _encode(
            self._message() | {"content": content} | self._stop() | {"usage": self._usage()}
        )

    def head(self) -> bytes:
        """Return the events before the first token."""
        usage = self._usage() | {"output_tokens": 1}
        start: Fields = {"type": "message_start", "message": self._message() | {"usage": usage}}
        head = event(start) + event({"type": "ping"})
        if self.thinks:
            head += event(_begun(0, _thinking("", "")))
            head += event(_delta(0, {"type": "thinking_delta", "thinking": THOUGHT}))
            head += event(_delta(0, {"type": "signature_delta", "signature": SIGNATURE}))
            head += event({"type": "content_block_stop", "index": 0})
        if self.tokens:
            head += event(_begun(self._at, self._block("")))
        return head

    def frames(self, first: int, last: int) -> bytes:
        """Return the events of the tokens from `first` up to, not including, `last`."""
        width, text = self.width, self.text
        pieces = [text[at * width : (at + 1) * width] for at in range(first, last)]
        if not self.tool:
            return b"".join(
                event(_delta(self._at, {"type": "text_delta", "text": piece})) for piece in pieces
            )
        # Without quotes and escapes in it, the text can be cut anywhere.
        if pieces and first == 0 and not self.fixed:
            pieces[0] = '{"text":"' + pieces[0]
        if pieces and last == self.tokens and not self.fixed:
            pieces[-1] += '"}'
        return b"".join(
            event(_delta(self._at, {"type": "input_json_delta", "partial_json": piece}))
            for piece in pieces
        )

    def tail(self) -> bytes:
        """Return what ends the stream in order."""
        stop = event({"type": "content_block_stop", "index": self._at}) if self.tokens else b""
        usage = self._usage()
        end: Fields = {"type": "message_delta", "delta": self._stop(), "usage": usage}
        return stop + event(end) + event({"type": "message_stop"})

    @property
    def _at(self) -> int:
        return 1 if self.thinks else 0

    def _input(self) -> object:
        if not self.fixed:
            return {"text": self.text}
        return {} if self.cut else msgspec.Raw(self.text.encode())

    def _block(self, text: str) -> Fields:
        if not self.tool:
            return {"type": "text", "text": text}
        called = "toolu_" + self.call_id.decode()
        return {"type": "tool_use", "id": called, "name": self.tool, "input": {}}

    def _message(self) -> Fields:
        return {
            "id": "msg_" + self.call_id.decode(),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _stop(self) -> Fields:
        reason = "max_tokens" if self.cut else "tool_use" if self.tool else "end_turn"
        if self.withheld:
            reason = "refusal"
        return {"stop_reason": reason, "stop_sequence": None}

    def _usage(self) -> Fields:
        thought = _THOUGHT_TOKENS if self.thinks else 0
        usage: Fields = {
            "input_tokens": self.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": self.tokens + thought,
        }
        if self.thinks:
            usage["output_tokens_details"] = {"thinking_tokens": thought}
        return usage


def _thinking(text: str, signature: str) -> Fields:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _begun(index: int, block: Fields) -> Fields:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, delta: Fields) -> Fields:
    return {"type": "content_block_delta", "index": index, "delta": delta}
