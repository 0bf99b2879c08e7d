"""Reads chat streams: what every reader does, and which frames of OpenAI's form are what."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from pipeline.errors import Cause, UpstreamError
from workers.providers import verdict
from workers.providers.assembly import Assembly, Fields, counts_nothing, usage_of
from workers.providers.base import Answer, Deltas, ProviderCall, Reply
from workers.providers.learning import seen
from workers.providers.sse import EventParser, EventTooLarge

_DONE: Final = b"[DONE]"
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)

#: A chunk in OpenAI's form, and its JSON on one line.
Piece = tuple[Fields, bytes]

_chunk = msgspec.json.Decoder(dict[str, object])
_encode = msgspec.json.Encoder().encode


def piece(chunk: Fields) -> Piece:
    """Make a piece of a chunk that a translation wrote."""
    return chunk, _encode(chunk)


class FrameReader:
    """Reads one chat stream whose frames tell chunks; `_read` tells which.

    The first chunks often say nothing but a role. They are given with the first that says
    something, so that until then a failure can move on to another deployment unnoticed.
    """

    __slots__ = ("_assembly", "_call", "_count", "_head", "_held", "_parser", "failure", "finished")

    def __init__(self, call: ProviderCall, head: Answer) -> None:
        self._call = call
        self._head = head
        self._parser = EventParser()
        self._assembly = Assembly()
        #: Chunks given.
        self._count = 0
        self._held: list[bytes] = []
        self.failure: UpstreamError | None = None
        self.finished = False

    def feed(self, data: bytes) -> Deltas | None:
        """Take the next bytes; give the chunks that they complete."""
        try:
            return self._give(self._pieces(self._parser.feed(data)))
        except EventTooLarge as raised:
            self._fail(verdict.failed(self._call, "network", f"The provider sent {raised}."))
            return None

    def end(self) -> Deltas | None:
        """Take the end of the bytes: complete only after a finish, or a finish reason each."""
        pieces = list(self._pieces(self._parser.end(), cut=True))
        if self.finished or self.failure:
            return self._give(pieces)
        if self._assembly.ended:
            deltas = self._give([*pieces, *self._closing()])
            self._finish()
            return deltas
        deltas = self._give(pieces)
        cause: Cause = "interrupted" if self._count else "network"
        told = f"The provider's stream broke off after {self._count} chunks."
        self._fail(verdict.failed(self._call, cause, told, chunks=self._count))
        return deltas

    def reply(self) -> Reply:
        """Give the whole object as assembled so far."""
        assembly = self._assembly
        usage = usage_of(assembly.usage)
        return Reply(
            response=assembly.whole(),
            usage=usage,
            finish_reason=assembly.finish_reason,
            model=assembly.head("model"),
            upstream_id=assembly.head("id"),
            status=self._head.status,
            headers=self._head.headers,
            empty=counts_nothing(usage)
            and not assembly.says_something
            and assembly.finish_reason != "content_filter",
            seen=seen(self._call.kind, self._head.headers),
        )

    @abstractmethod
    def _read(self, payload: bytes, *, cut: bool) -> Iterable[Piece]:
        """Read one event's data, of a last one that may be `cut` short; tell the end too."""

    def _closing(self) -> Iterable[Piece]:
        """Give what the end of the bytes adds to a complete stream."""
        return ()

    def _pieces(self, payloads: list[bytes], *, cut: bool = False) -> Iterator[Piece]:
        for payload in payloads:
            if self.finished or self.failure:
                return
            for chunk, text in self._read(payload, cut=cut):
                self._assembly.add(chunk)
                yield chunk, text

    def _give(self, pieces: Iterable[Piece]) -> Deltas | None:
        chunks: list[bytes] = []
        usage_at = -1
        for chunk, text in pieces:
            if not chunk["choices"] and chunk.get("usage"):
                usage_at = len(chunks)
            chunks.append(text)
        if self._count == 0:
            usage_at += len(self._held) if usage_at >= 0 else 0
            chunks = self._held = [*self._held, *chunks]
            if not (self._assembly.says_something or self._assembly.finish_reason):
                return None
            if self._call.fails_withheld and self._assembly.withheld:
                self._fail(verdict.withheld(self._call, self._head))
                return None
            self._held = []
        self._count += len(chunks)
        return Deltas(chunks=chunks, usage_at=usage_at) if chunks else None

    def _finish(self) -> None:
        self.finished = True
        if self._assembly.empty:
            self._fail(verdict.empty(self._call, self._head))

    def _fail(self, error: UpstreamError | None) -> None:
        if error is not None:
            self.failure = error


class ChatReader(FrameReader):
    """Reads one chat stream in OpenAI's form; the chunks stay as they came."""

    __slots__ = ()

    def _read(self, payload: bytes, *, cut: bool) -> Iterable[Piece]:
        try:
            chunk = _chunk.decode(payload)
        except _NOT_JSON:
            if payload.strip() == _DONE:
                self._finish()
            elif payload.strip() and not cut:
                told = "The provider's stream holds what is no chunk"
                self._fail(verdict.garbage(self._call, self._head, told, payload))
            return ()
        if chunk.get("error") or not isinstance(chunk.get("choices"), list):
            # A frame without choices breaks the clients' loops, so it stays here.
            self._fail(verdict.error_within(self._call, self._head, payload))
            return ()
        # A line break can only be JSON's white space; whoever writes the chunk on as an event
        # cannot have it.
        return ((chunk, payload.replace(b"\n", b" ") if b"\n" in payload else payload),)


class UnaskedReader(ChatReader):
    """Reads a stream whose usage comes unasked, beside choices: it is told alone, at the end.

    There the official client expects it, and there it can be left out for who did not ask.
    """

    __slots__ = ("_usage",)

    def __init__(self, call: ProviderCall, head: Answer) -> None:
        super().__init__(call, head)
        #: The latest chunk with usage, which is yet to be told.
        self._usage: Fields = {}

    def _read(self, payload: bytes, *, cut: bool) -> Iterable[Piece]:
        pieces = [self._without_usage(one) for one in super()._read(payload, cut=cut)]
        return [*pieces, *self._closing()] if self.finished and not self.failure else pieces

    def _without_usage(self, one: Piece) -> Piece:
        chunk, _ = one
        usage = chunk.get("usage")
        if not chunk["choices"]:
            self._usage = {}
            return one
        if not isinstance(usage, dict) or not usage:
            return one
        self._usage = chunk
        self._assembly.usage = usage
        return piece({**chunk, "usage": None})

    def _closing(self) -> Iterable[Piece]:
        told, self._usage = self._usage, {}
        return (piece({**told, "choices": []}),) if told else ()
