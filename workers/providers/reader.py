"""Reads a chat stream in OpenAI's form: which frames are chunks, errors, the end."""

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

_chunk = msgspec.json.Decoder(dict[str, object])


class ChatReader:
    """Reads one chat stream; the chunks stay as they came.

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
            return self._take(self._parser.feed(data))
        except EventTooLarge as raised:
            self._fail(verdict.failed(self._call, "network", f"The provider sent {raised}."))
            return None

    def end(self) -> Deltas | None:
        """Take the end of the bytes: complete only after `[DONE]` or a finish reason each."""
        deltas = self._take(self._parser.end(), cut=True)
        if self.finished or self.failure:
            return deltas
        if self._assembly.ended:
            self._finish()
        else:
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
            empty=counts_nothing(usage) and not assembly.says_something,
            seen=seen(self._call.kind, self._head.headers),
        )

    def _take(self, payloads: list[bytes], *, cut: bool = False) -> Deltas | None:
        """Read events' data; a last one that was cut short (`cut`) need not be whole."""
        chunks: list[bytes] = []
        usage_at = -1
        for payload in payloads:
            if self.finished or self.failure:
                break
            chunk = self._read(payload, cut=cut)
            if chunk is None:
                continue
            if not chunk["choices"] and chunk.get("usage"):
                usage_at = len(chunks)
            # A line break can only be JSON's white space; whoever writes the chunk on as an
            # event cannot have it.
            chunks.append(payload.replace(b"\n", b" ") if b"\n" in payload else payload)
        if self._count == 0:
            usage_at += len(self._held) if usage_at >= 0 else 0
            chunks = self._held = [*self._held, *chunks]
            if not (self._assembly.says_something or self._assembly.finish_reason):
                return None
            self._held = []
        self._count += len(chunks)
        return Deltas(chunks=chunks, usage_at=usage_at) if chunks else None

    def _read(self, payload: bytes, *, cut: bool) -> Fields | None:
        """Read one event's data; None: it is no chunk for anyone to see."""
        try:
            chunk = _chunk.decode(payload)
        except _NOT_JSON:
            if payload.strip() == _DONE:
                self._finish()
            elif payload.strip() and not cut:
                told = "The provider's stream holds what is no chunk"
                self._fail(verdict.garbage(self._call, self._head, told, payload))
            return None
        if chunk.get("error") or not isinstance(chunk.get("choices"), list):
            # A frame without choices breaks the clients' loops, so it stays here.
            self._fail(verdict.error_within(self._call, self._head, payload))
            return None
        self._assembly.add(chunk)
        return chunk

    def _finish(self) -> None:
        self.finished = True
        if self._assembly.empty:
            self._fail(verdict.empty(self._call, self._head))

    def _fail(self, error: UpstreamError | None) -> None:
        if error is not None:
            self.failure = error
