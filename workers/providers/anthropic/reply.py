"""Anthropic's message as OpenAI's completion: its blocks, why it ended, what it used.

https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from workers.providers.anthropic.messages import SIGNED_FORMAT
from workers.providers.assembly import Fields

_FINISHES: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    # Both leave the answer unfinished; the former only where Anthropic's own tools run.
    "pause_turn": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_TIERS: Final[Mapping[str, str]] = {"standard": "default", "priority": "priority"}
_REFUSED: Final = "The model declined to answer."

_encode = msgspec.json.Encoder().encode


class StopDetails(msgspec.Struct, frozen=True):
    """Why the model refused."""

    explanation: str | None = None


class Block(msgspec.Struct, frozen=True):
    """A piece of an answer; which fields it has follows from its type."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class AnthropicMessage(msgspec.Struct, frozen=True, tag="message"):
    """A whole answer."""

    content: list[Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: dict[str, object] = {}


def message_of(message: AnthropicMessage) -> Fields:
    """Give OpenAI's message."""
    said = [block.text for block in message.content if block.type == "text"]
    thought = [block.thinking for block in message.content if block.thinking]
    details = [
        detail for at, block in enumerate(message.content) if (detail := thought_of(block, at))
    ]
    calls: list[Fields] = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode()},
        }
        for block in message.content
        if block.type == "tool_use"
    ]
    told: Fields = {
        "role": "assistant",
        "content": "".join(said) if said else None,
        "refusal": refusal_of(message.stop_reason, message.stop_details),
    }
    more: Fields = {
        "reasoning_content": "".join(thought),
        "reasoning_details": details,
        "tool_calls": calls,
    }
    return told | {name: value for name, value in more.items() if value}


def thought_of(block: Block, index: int) -> Fields | None:
    """Give a thought as the client has to send it back; None: the block is none.

    Signed, in OpenRouter's form: https://openrouter.ai/docs/use-cases/reasoning-tokens
    """
    if block.type == "redacted_thinking":
        return _detail("reasoning.encrypted", index) | {"data": block.data}
    if block.type == "thinking":
        thought: Fields = {"text": block.thinking, "signature": block.signature}
        return _detail("reasoning.text", index) | thought
    return None


def _detail(kind: str, index: int) -> Fields:
    return {"type": kind, "format": SIGNED_FORMAT, "index": index}


def refusal_of(stop_reason: str | None, details: StopDetails | None) -> str | None:
    """Say that the model refused, in its own words where it gives any; None: it did not."""
    if stop_reason != "refusal":
        return None
    return (details.explanation if details else None) or _REFUSED


def finish_of(stop_reason: str | None) -> str | None:
    """Give OpenAI's finish reason; one that is new to us counts as an ordinary end."""
    return _FINISHES.get(stop_reason, "stop") if stop_reason else None


def usage_fields(told: Mapping[str, object]) -> Fields:
    """Give OpenAI's usage; Anthropic counts what the cache read and took apart from the rest.

    https://platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    read, written = (
        _count(told, "cache_read_input_tokens"),
        _count(told, "cache_creation_input_tokens"),
    )
    prompt, completion = (
        _count(told, "input_tokens") + read + written,
        _count(told, "output_tokens"),
    )
    usage: Fields = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    details = told.get("output_tokens_details")
    if isinstance(details, dict):
        usage["completion_tokens_details"] = {
            "reasoning_tokens": _count(details, "thinking_tokens")
        }
    return usage


def tier_of(told: Mapping[str, object]) -> Fields:
    """Give OpenAI's `service_tier` where Anthropic tells one that OpenAI has."""
    tier = _TIERS.get(str(told.get("service_tier")))
    return {"service_tier": tier} if tier else {}


def _count(told: Mapping[str, object], name: str) -> int:
    count = told.get(name)
    return count if isinstance(count, int) else 0
