"""Prompts and answers for traces, where an operator has switched that on; read back from Redis."""

from typing import Final

import msgspec

from pipeline.content import content_of, first_choice
from pipeline.event import Event
from pipeline.names import Names
from pipeline.streams.link import Link, LinkError
from pipeline.telemetry.calls import Content


class _Body(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")


_read: Final = msgspec.json.Decoder(_Body).decode

_NOTHING: Final = Content("", "")


class Contents:
    """Reads what was asked and answered, each up to so many bytes."""

    def __init__(self, link: Link, names: Names, most_bytes: int) -> None:
        self._link = link
        self._names = names
        self._most_bytes = most_bytes

    async def of(self, event: Event) -> Content:
        """Read an ended event's prompt and answer; what is gone, or Redis is, is empty."""
        try:
            prompt = await self._prompt(event)
            answer = await self._answer(event) if event.status == "completed" else ""
        except (LinkError, msgspec.MsgspecError):
            return _NOTHING
        return Content(self._cut(prompt), self._cut(answer.encode()))

    async def _prompt(self, event: Event) -> bytes:
        body = bytes(event.body) if event.has_body else None
        body = body or await self._link.call("GET", self._names.body(event.id))
        read = _read(body) if body else _Body()
        return bytes(read.messages) or bytes(read.input)

    async def _answer(self, event: Event) -> str:
        response = await self._link.call("HGET", self._names.record(event.id), "response")
        if response:
            choice = first_choice(response)
            return (choice.message.content if choice and choice.message else "") or ""
        entries = await self._link.call("XRANGE", self._names.reply(event.id), "-", "+")
        last = b"%09d" % event.generation
        counted = [
            fields[1] for entry, fields in entries[:-1] if entry.partition(b"-")[0].endswith(last)
        ]
        return content_of(b"\n".join(counted))

    def _cut(self, text: bytes) -> str:
        return text[: self._most_bytes].decode(errors="ignore")
