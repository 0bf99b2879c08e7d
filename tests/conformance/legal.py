"""What the official `openai` client needs of a stream's chunks (CLIENTS.md D)."""

from collections.abc import Sequence

import msgspec

from workers.providers.base import Deltas

Fields = dict[str, object]


def check_chunks(all_deltas: Sequence[Deltas]) -> None:
    """Check the chunks of a stream that ended well."""
    chunks: list[Fields] = [
        msgspec.json.decode(data) for deltas in all_deltas for data in deltas.chunks
    ]
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert isinstance(chunk["created"], int)
        assert isinstance(chunk["model"], str)
        assert not chunk.get("error")
        for choice in _choices(chunk):
            _check_choice(choice)
    filled = [chunk for chunk in chunks if _choices(chunk)]
    assert len({chunk["id"] for chunk in filled}) == 1
    assert _choices(filled[0])[0]["index"] == 0
    assert _choices(filled[-1])[0]["finish_reason"]
    _check_usage(chunks, all_deltas[-1])


def _check_choice(choice: Fields) -> None:
    assert isinstance(choice["index"], int)
    assert "finish_reason" in choice
    delta = choice["delta"]
    assert isinstance(delta, dict)
    for tool_call in delta.get("tool_calls") or ():
        assert isinstance(tool_call["index"], int)


def _check_usage(chunks: list[Fields], last: Deltas) -> None:
    """Usage comes once, last, without choices, where the client's wish can leave it out."""
    *others, usage = chunks
    assert usage["choices"] == []
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(_object(usage["usage"]))
    assert last.usage_at == len(last.chunks) - 1
    assert not any(chunk.get("usage") for chunk in others)


def _choices(chunk: Fields) -> list[Fields]:
    choices = chunk["choices"]
    assert isinstance(choices, list)
    return choices


def _object(value: object) -> Fields:
    assert isinstance(value, dict)
    return value
