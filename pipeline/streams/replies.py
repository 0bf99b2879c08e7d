"""Writing replies: the deltas of all running calls of a process, coalesced per loop turn.

What arrives for a reply while a flush is under way goes out as one entry with the next, so the
cost follows flushes. Flushes of later deltas keep `PACE_S` apart: with many streams one flush
serves them all. A first token and the end of a reply are never held back, and where flushes are
rarer anyway nothing is. An entry's field `event` holds one JSON chunk a line; the first one of a
generation has a field `head`, too: a summary of the way so far.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import noted, said
from pipeline.names import Names
from pipeline.streams.batch import split
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.scripts import BEGINNING, FLUSH, Script

log = logging.getLogger(__name__)

#: Between the beginnings of two flushes, in seconds. Measured with 100 streams of 50 tokens a
#: second: 5 ms take a third off the CPU of a delta, and nobody reads that fast.
PACE_S: Final = 0.005

#: Begins a head that goes before the lines; no JSON chunk begins so.
HEAD: Final = b"#"

#: Pause before what Redis refused is asked again, in seconds.
REFUSED_S: Final = 1.0

#: Replies written in one call of the script at the most: a bound on its time in Redis.
MAX_BATCH: Final = 256


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of an answer whose call was cut."""

    generation: int
    #: Number of its last entry.
    place: int
    #: JSON chunks, one a line, of each entry.
    entries: list[bytes]


class ReplyWriter:
    """One generation of one reply, by one call: the one that began it, or one that goes on."""

    def __init__(self, replies: "Replies", request_id: str, generation: int) -> None:
        self._replies = replies
        self.request_id = request_id
        self.generation = generation
        #: The number of the call, where that is not the one that began the generation.
        self.number = 0
        #: Entries written so far; the number of the last one.
        self.place = 0
        #: A newer generation has begun, or the request has ended: nothing more can be written.
        self.refused = False
        #: Refused because the client wants the answer no more.
        self.cancelled = False
        #: Goes out with the first entry; JSON of an `event.Summary`, or empty.
        self.head = b""
        self.pending: list[bytes] = []
        self.idle = asyncio.Event()
        self.idle.set()

    def write(self, chunks: Sequence[bytes]) -> None:
        """Hand over chunks of JSON; they go out with the next flush."""
        if self.refused or not chunks:
            return
        if not self.pending and self.idle.is_set():
            self._replies.add(self)
        # A line break inside a chunk is white space of its JSON; between lines it is ours.
        self.pending.extend(c.replace(b"\n", b" ") if b"\n" in c else c for c in chunks)
        self.idle.clear()

    async def flushed(self) -> None:
        """Wait until everything handed over is written, or refused."""
        if self.pending:
            self._replies.hurry()
        await self.idle.wait()


def _size(writer: ReplyWriter) -> int:
    return sum(map(len, writer.pending))


class Replies:
    """The replies being written by one process."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._prefix = names.prefix
        self._dirty: list[ReplyWriter] = []
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._next_flush = 0.0
        #: Written so far: flushes, and the chunks in them.
        self.flushes = self.deltas = 0

    def open(self, request_id: str, generation: int) -> ReplyWriter:
        """Begin a generation of a reply; a greater number shuts out every smaller one."""
        return ReplyWriter(self, request_id, generation)

    async def beginning(self, request_id: str, number: int) -> Beginning | None:
        """Read what stands of an answer that was cut, and shut out whoever wrote it.

        `number` is that of the call that goes on, or of the one that was cut; the generations
        of calls are numbered so. None: nothing stands there, or a later call has gone on with it.
        """
        found = await self._ask(BEGINNING, [self._prefix, request_id, number])
        if found is None:
            return None
        generation, place, entries = found
        return Beginning(generation=generation, place=place, entries=entries)

    def go_on(self, request_id: str, number: int, beginning: Beginning) -> ReplyWriter:
        """Go on with a generation behind its beginning, as the call of that number."""
        writer = ReplyWriter(self, request_id, beginning.generation)
        writer.number = number
        writer.place = beginning.place
        return writer

    def add(self, writer: ReplyWriter) -> None:
        """Note that a writer has something to write."""
        self._dirty.append(writer)
        if not writer.place:
            self.hurry()
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="reply flush")

    def hurry(self) -> None:
        """Flush without regard to the pace."""
        self._hurry.set()

    async def _pace(self) -> None:
        wait_s = self._next_flush - clock.monotonic()
        if wait_s > 0 and not self._hurry.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._hurry.wait()
        self._hurry.clear()
        self._next_flush = clock.monotonic() + PACE_S

    async def _flush(self) -> None:
        try:
            while self._dirty:
                await self._pace()
                batch, self._dirty = split(self._dirty, MAX_BATCH, _size)
                await self._write(batch)
        finally:
            self._task = None

    async def _write(self, batch: list[ReplyWriter]) -> None:
        args: list[Argument] = [self._prefix]
        self.flushes += 1
        for writer in batch:
            self.deltas += len(writer.pending)
            lines, writer.pending = b"\n".join(writer.pending), []
            if writer.head and not writer.place:
                lines = b"%b%b\n%b" % (HEAD, writer.head, lines)
            writer.place += 1
            generation = f"{writer.generation:09d}"
            if writer.number:
                generation += f"/{writer.number}"
            args += [writer.request_id, generation, writer.place, lines]
        written: list[int] = await self._ask(FLUSH, args)
        for writer, ok in zip(batch, written, strict=True):
            if ok != 1:
                writer.refused = True
                writer.cancelled = ok < 0
                writer.pending.clear()
            if writer.pending:
                self._dirty.append(writer)
            else:
                writer.idle.set()

    async def _ask(self, script: Script, args: list[Argument]) -> Reply:
        while True:
            try:
                return await self._link.run(script, [self._prefix], args)
            except LinkError:
                # Safe to ask again: an entry that was written is refused by its number.
                await self._link.up()
            except redis.exceptions.ResponseError as error:
                log.warning("Redis refused deltas", extra=noted(reason=said(error)))
                await asyncio.sleep(REFUSED_S)
