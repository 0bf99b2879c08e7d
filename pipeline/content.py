"""Reading answers of OpenAI's form: the text in chunks and in whole responses."""

from typing import Final

import msgspec


class Text(msgspec.Struct):
    """A part of an answer, or the whole of it."""

    content: str | None = None


class Choice(msgspec.Struct):
    """One of the answers in a chunk or a response."""

    index: int = 0
    delta: Text | None = None
    message: Text | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[Choice] | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


def first_choice(answer: bytes) -> Choice | None:
    """Read the first choice of a chunk or a response; none in what has another form."""
    try:
        choices = _decode(answer).choices
    except msgspec.MsgspecError:
        return None
    return next((choice for choice in choices or () if choice.index == 0), None)


def content_of(lines: bytes) -> str:
    """Join the content of the first choice in chunks, one a line."""
    parts = []
    for line in lines.split(b"\n"):
        choice = first_choice(line)
        if choice and choice.delta and choice.delta.content:
            parts.append(choice.delta.content)
    return "".join(parts)
