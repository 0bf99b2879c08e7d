"""Writing replies: the deltas of all running calls of a process, coalesced per loop turn.

What arrives for a reply while a flush is under way goes out as one entry with the next; an idle
writer flushes at once, so the first token is never held back and the cost follows flushes.
An entry's field `event` holds one JSON chunk a line.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from pipeline.names import Names
from pipeline.streams.link import Argument, Link, LinkError
from pipeline.streams.scripts import FLUSH

#: Replies written in one call of the script at the most: a bound on its time in Redis.
MAX_BATCH: Final = 256


class ReplyWriter:
    """One generation of one reply."""

    def __init__(self, replies: "Replies", request_id: str, generation: int) -> None:
        self._replies = replies
        self.request_id = request_id
        self.generation = generation
        #: Entries written so far; the number of the last one.
        self.place = 0
        #: A newer generation has begun, or the request has ended: nothing more can be written.
        self.refused = False
        #: Refused because the client wants the answer no more.
        self.cancelled = False
        self.pending: list[bytes] = []
        self.idle = asyncio.Event()
        self.idle.set()

    def write(self, chunks: Sequence[bytes]) -> None:
        """Hand over chunks of JSON; they go out with the next flush."""
        if self.refused:
            return
        if not self.pending and self.idle.is_set():
            self._replies.add(self)
        self.pending.extend(chunks)
        self.idle.clear()

    async def flushed(self) -> None:
        """Wait until everything handed over is written, or refused."""
        await self.idle.wait()


class Replies:
    """The replies being written by one process."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._prefix = names.prefix
        self._dirty: list[ReplyWriter] = []
        self._task: asyncio.Task[None] | None = None

    def open(self, request_id: str, generation: int) -> ReplyWriter:
        """Begin a generation of a reply; a greater number shuts out every smaller one."""
        return ReplyWriter(self, request_id, generation)

    def add(self, writer: ReplyWriter) -> None:
        """Note that a writer has something to write."""
        self._dirty.append(writer)
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="reply flush")

    async def _flush(self) -> None:
        try:
            while self._dirty:
                batch, self._dirty = self._dirty[:MAX_BATCH], self._dirty[MAX_BATCH:]
                await self._write(batch)
        finally:
            self._task = None

    async def _write(self, batch: list[ReplyWriter]) -> None:
        args: list[Argument] = [self._prefix]
        for writer in batch:
            lines, writer.pending = b"\n".join(writer.pending), []
            writer.place += 1
            args += [writer.request_id, f"{writer.generation:09d}", writer.place, lines]
        written = await self._ask(args)
        for writer, ok in zip(batch, written, strict=True):
            if ok != 1:
                writer.refused = True
                writer.cancelled = ok < 0
                writer.pending.clear()
            if writer.pending:
                self._dirty.append(writer)
            else:
                writer.idle.set()

    async def _ask(self, args: list[Argument]) -> list[int]:
        while True:
            try:
                written: list[int] = await self._link.run(FLUSH, [self._prefix], args)
            except LinkError:
                # Safe to ask again: an entry that was written is refused by its number.
                await self._link.up()
            else:
                return written
