"""Reads a stream of Anthropic's events as chunks in OpenAI's form.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from pipeline import clock
from workers.providers import verdict
from workers.providers.anthropic.reply import (
    Block,
    StopDetails,
    finish_of,
    refusal_of,
    thought_of,
    tier_of,
    usage_fields,
)
from workers.providers.assembly import Fields
from workers.providers.base import Answer, ProviderCall
from workers.providers.reader import FrameReader, Piece, piece

_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)


class _Started(msgspec.Struct, frozen=True):
    id: str = ""
    model: str = ""
    usage: dict[str, object] = {}


class _Delta(msgspec.Struct, frozen=True):
    """A delta of a block, or of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class _Event(msgspec.Struct, frozen=True):
    """Any event; which fields it has follows from its type."""

    type: str = ""
    index: int = 0
    message: _Started = _Started()
    content_block: Block = Block(type="")
    delta: _Delta = _Delta()
    usage: dict[str, object] = {}


_KNOWN: Final = frozenset(
    {
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        "message_delta",
    }
)
_NO_THOUGHT: Final = Block(type="")
_decode = msgspec.json.Decoder(_Event).decode


class MessageReader(FrameReader):
    """Reads one stream of a message."""

    __slots__ = (
        *("_arguments", "_calls", "_head_fields", "_signature", "_thinking", "_thought", "_used"),
    )

    def __init__(self, call: ProviderCall, head: Answer) -> None:
        super().__init__(call, head)
        #: What all chunks begin with.
        self._head_fields: Fields = {}
        #: Tool calls begun.
        self._calls = 0
        #: Whether the latest tool call has arguments.
        self._arguments = False
        #: The thought under way, and its text and signature in pieces.
        self._thought = _NO_THOUGHT
        self._thinking: list[str] = []
        self._signature = ""
        self._used: dict[str, object] = {}

    def _read(self, payload: bytes, *, cut: bool) -> Iterable[Piece]:
        try:
            event = _decode(payload)
        except _NOT_JSON:
            if payload.strip() and not cut:
                told = "The provider's stream holds what is no event"
                self._fail(
                    verdict.error_within(self._call, self._head, payload)
                    or verdict.garbage(self._call, self._head, told, payload)
                )
            return ()
        if event.type == "message_stop":
            pieces = self._closing()
            self._finish()
            return pieces
        if event.type in _KNOWN:
            return self._of_event(event)
        # Pings, and what may be added one day; an error has that form whatever its type.
        self._fail(verdict.error_within(self._call, self._head, payload))
        return ()

    def _of_event(self, event: _Event) -> Iterable[Piece]:
        match event.type:
            case "content_block_delta":
                return self._added(event.delta)
            case "content_block_start":
                return self._begun(event.content_block)
            case "content_block_stop":
                return self._stopped(event.index)
            case "message_start":
                return self._started(event.message)
            case _:
                return self._ended(event)

    def _closing(self) -> Iterable[Piece]:
        usage = usage_fields(self._used)
        chunk = {**self._head_fields, **tier_of(self._used), "choices": [], "usage": usage}
        return (piece(chunk),)

    def _started(self, message: _Started) -> Iterable[Piece]:
        self._used = dict(message.usage)
        self._head_fields = {
            "id": message.id,
            "object": "chat.completion.chunk",
            "created": int(clock.now()),
            "model": message.model,
        }
        return self._said({"role": "assistant", "content": None})

    def _begun(self, block: Block) -> Iterable[Piece]:
        match block.type:
            case "text" if block.text:
                return self._said({"content": block.text})
            case "thinking":
                self._thought, self._signature = block, block.signature
                self._thinking = [block.thinking]
                return self._said({"reasoning_content": block.thinking}) if block.thinking else ()
            case "redacted_thinking":
                self._thought = block
            case "tool_use":
                self._calls += 1
                # Always empty so far: the arguments come in deltas.
                self._arguments = bool(msgspec.json.decode(block.input))
                given = bytes(block.input).decode() if self._arguments else ""
                function = {"name": block.name, "arguments": given}
                return self._called({"id": block.id, "type": "function", "function": function})
        return ()

    def _added(self, delta: _Delta) -> Iterable[Piece]:
        match delta.type:
            case "text_delta" if delta.text:
                return self._said({"content": delta.text})
            case "input_json_delta" if delta.partial_json:
                self._arguments = True
                return self._called({"function": {"arguments": delta.partial_json}})
            case "thinking_delta" if delta.thinking:
                self._thinking.append(delta.thinking)
                return self._said({"reasoning_content": delta.thinking})
            case "signature_delta":
                self._signature += delta.signature
        return ()

    def _stopped(self, index: int) -> Iterable[Piece]:
        if self._thought is not _NO_THOUGHT:
            told = "".join(self._thinking)
            thought = msgspec.structs.replace(
                self._thought, thinking=told, signature=self._signature
            )
            self._thought = _NO_THOUGHT
            return self._said({"reasoning_details": [thought_of(thought, index)]})
        if self._calls and not self._arguments:
            # A tool without arguments has no deltas, and clients read JSON.
            self._arguments = True
            return self._called({"function": {"arguments": "{}"}})
        return ()

    def _ended(self, event: _Event) -> Iterable[Piece]:
        counted = {name: count for name, count in event.usage.items() if count is not None}
        self._used |= counted
        finish = finish_of(event.delta.stop_reason)
        if finish is None:
            return ()
        refusal = refusal_of(event.delta.stop_reason, event.delta.stop_details)
        return self._said({"refusal": refusal} if refusal else {}, finish)

    def _called(self, tool_call: Fields) -> Iterable[Piece]:
        return self._said({"tool_calls": [{"index": self._calls - 1, **tool_call}]})

    def _said(self, delta: Fields, finish: str | None = None) -> Iterable[Piece]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return (piece({**self._head_fields, "choices": [choice]}),)
