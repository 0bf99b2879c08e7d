"""Reading replies: one stream and one connection bring a process every reply it waits for.

Frames may come twice or not at all (an inbox keeps seconds only); the reply stream is the truth.
So each watch knows by the entries' numbers what it has and what it misses, and reads what it
misses from the reply stream.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import noted, said
from pipeline.names import Names
from pipeline.streams.link import Link, LinkError, Reply
from pipeline.streams.replies import HEAD
from pipeline.streams.scripts import ATTACH

log = logging.getLogger(__name__)

#: Seconds an inbox outlives the last sign of life of its process.
INBOX_TTL_S: Final = 60

#: How long one read of the inbox blocks, and so how often a sign of life is given.
BLOCK_S: Final = 5.0

#: Pause before what Redis refused is asked again, in seconds.
REFUSED_S: Final = 1.0

#: A watch that has heard nothing for so long asks for its request's status.
SILENCE_S: Final = 10.0

#: The generation that stands for the closing, behind all others of its turn.
CLOSING: Final = 999_999_999
TURN: Final = 1_000_000_000

#: In the place of a request's id: what all processes are to know of, whatever they wait for.
NEWS: Final = "!config"

Kind = Literal["delta", "restart", "closing", "lost"]


class Frame(msgspec.Struct, frozen=True):
    """Something a reader hears. Lines are the JSON chunks of a delta, or the closing's JSON."""

    kind: Kind
    #: Entry id in the reply stream: the place to resume after.
    entry: str
    lines: bytes = b""
    #: With a closing, where it was asked for: the whole response.
    response: bytes = b""
    #: With the first delta of a generation: JSON of an `event.Summary`; it may be missing.
    head: bytes = b""


class Watch:
    """One reader of one request's reply, from a place on."""

    def __init__(self, inbox: "Inbox", request_id: str, after: str = "0-0") -> None:
        self._inbox = inbox
        self.request_id = request_id
        #: Entry id of the last frame heard.
        self.last = after
        self._frames: deque[Frame] = deque()
        self._ready = asyncio.Event()
        self.heard = clock.monotonic()
        self._closed = False
        self._resuming = False

    async def next(self) -> Frame:
        """Wait for the next frame; after a `closing` or `lost` there is none."""
        while not self._frames:
            self._ready.clear()
            await self._ready.wait()
        return self._frames.popleft()

    def pop_ready(self) -> Frame | None:
        """Give the next frame if there is one already."""
        return self._frames.popleft() if self._frames else None

    def close(self) -> None:
        """Stop hearing of this request."""
        self._inbox.forget(self)

    def receive(self, entry: str, payload: bytes, response: bytes = b"") -> bool:
        """Take in an entry; tells whether something before it is missing."""
        self.heard = clock.monotonic()
        generation, place = _numbers(entry)
        last_generation, last_place = _numbers(self.last)
        if self._closed or (generation, place) <= (last_generation, last_place):
            return False
        if generation % TURN == CLOSING:
            return self._end(entry, payload, response)
        begins = generation != last_generation
        if place != (1 if begins else last_place + 1):
            return True
        if begins and last_generation % TURN and last_generation // TURN == generation // TURN:
            self._put(Frame("restart", entry))
        self.last = entry
        head = b""
        if payload.startswith(HEAD):
            head, _, payload = payload[1:].partition(b"\n")
        self._put(Frame("delta", entry, payload, head=head))
        return False

    def _lacks(self, entry: str) -> bool:
        return not self._closed and _numbers(entry) > _numbers(self.last)

    def _skip_hole(self, entry: str, payload: bytes, response: bytes) -> None:
        """Go on behind what is lost for good, rather than ask for it for ever."""
        generation, place = _numbers(entry)
        if generation % TURN == CLOSING:
            self._end(entry, payload, response, whole=False)
        else:
            self.last = f"{generation}-{place - 1}"

    def _end(self, entry: str, payload: bytes, response: bytes, *, whole: bool = True) -> bool:
        if not response and b"\n" in payload:
            payload, response = payload.split(b"\n", 1)
        closing = _decode_closing(payload)
        generation, place = _numbers(self.last)
        if (
            whole
            and closing.deltas
            and (generation % TURN, place) != (closing.generation, closing.deltas)
        ):
            return True
        self._closed = True
        self.last = entry
        self._put(Frame("closing", entry, payload, response))
        return False

    def lose(self) -> None:
        """Tell the reader that Redis knows nothing of the request any more."""
        if not self._closed:
            self._closed = True
            self._put(Frame("lost", self.last))

    def _put(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._ready.set()

    async def resume(self) -> dict[str, bytes] | None:
        """Register with the request and read what is missing; gives the request's record.

        Nothing is given when Redis does not know the request. Raises `LinkError`.
        """
        while not self._resuming:
            self._resuming = True
            try:
                found = await self._inbox.attach(self)
            finally:
                self._resuming = False
            if found is None:
                self.lose()
                return None
            record, entries = found
            response = record.get("response", b"")
            for entry, payload in entries:
                self.receive(entry, payload, response)
            beyond = next((row for row in entries if self._lacks(row[0])), None)
            if beyond is None:
                return record
            self._skip_hole(*beyond, response)
        return {}


class Closing(msgspec.Struct, frozen=True):
    """The part of a closing that readers need to know whether they have everything."""

    deltas: int = 0
    generation: int = 0


_decode_closing = msgspec.json.Decoder(Closing).decode


def _numbers(entry: str) -> tuple[int, int]:
    generation, _, place = entry.partition("-")
    return int(generation), int(place)


def _payload(fields: list[bytes]) -> bytes:
    """Give an entry of a reply stream as inboxes have it."""
    return b"%b%b\n%b" % (HEAD, fields[3], fields[1]) if len(fields) > 2 else fields[1]


class Inbox:
    """The one stream by which a process hears of all replies it waits for."""

    def __init__(
        self, url: str, link: Link, names: Names, name: str, *, is_gateway: bool = True
    ) -> None:
        self.name = name
        self._is_gateway = is_gateway
        self._names = names
        self._key = names.inbox(name)
        self._link = link
        self._reader = Link(url, name=f"sluice-inbox-{name}", timeout_s=BLOCK_S * 2)
        self._watches: dict[bytes, set[Watch]] = {}
        #: Is told of the configuration that was published.
        self.on_news: Callable[[bytes], None] | None = None
        self._last = "0-0"
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Make the inbox and begin to read it."""
        await self._reader.open()
        await self._begin()
        self._tasks = [
            asyncio.create_task(self._read(), name="inbox"),
            asyncio.create_task(self._keep(), name="inbox keeper"),
        ]

    async def close(self) -> None:
        """Stop reading and remove the inbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(LinkError):
            await self._link.call("DEL", self._key)
            await self._link.call("ZREM", self._names.gateways, self.name)
        await self._reader.close()

    def watch(self, request_id: str, after: str = "0-0") -> Watch:
        """Begin to hear of a request that names this inbox in its record from its accepting on."""
        watch = Watch(self, request_id, after)
        self._watches.setdefault(request_id.encode(), set()).add(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """Stop a watch."""
        key = watch.request_id.encode()
        watches = self._watches.get(key)
        if watches:
            watches.discard(watch)
            if not watches:
                del self._watches[key]

    @property
    def watching(self) -> int:
        """How many requests are being waited for."""
        return len(self._watches)

    async def attach(self, watch: Watch) -> tuple[dict[str, bytes], list[tuple[str, bytes]]] | None:
        """Register this inbox with the watch's request and read the reply behind its place."""
        args = [self._names.prefix, watch.request_id, self.name, watch.last]
        found = await self._link.run(ATTACH, [self._names.record(watch.request_id)], args)
        if not found:
            return None
        flat, entries = found
        record = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
        return record, [(entry.decode(), _payload(fields)) for entry, fields in entries]

    async def _begin(self) -> None:
        created = await self._link.call("XADD", self._key, "*", "hello", "1")
        self._last = created.decode()
        await self._sign()

    async def _sign(self) -> bool:
        if not self._is_gateway:
            kept: int = await self._link.call("EXPIRE", self._key, INBOX_TTL_S)
            return kept == 1
        there, listed = await asyncio.gather(
            self._link.call("EXPIRE", self._key, INBOX_TTL_S),
            self._link.call("ZADD", self._names.gateways, f"{clock.now():.3f}", self.name),
            return_exceptions=True,
        )
        if isinstance(listed, redis.exceptions.OutOfMemoryError):
            log.warning("Redis was full: this gateway is not listed as alive")
        for failed in (there, listed):
            if isinstance(failed, LinkError):
                raise failed
        return there == 1

    async def _read(self) -> None:
        while True:
            command = ("XREAD", "COUNT", 500, "BLOCK", int(BLOCK_S * 1000), "STREAMS", self._key)
            try:
                reply: Reply = await self._reader.call(*command, self._last)
            except LinkError:
                await self._reader.up()
                await self._resume_all()
                continue
            except redis.exceptions.ResponseError as error:
                log.warning("Redis refused to read the inbox", extra=noted(reason=said(error)))
                await asyncio.sleep(REFUSED_S)
                continue
            if reply:
                self._take(reply[0][1])

    def _take(self, entries: list[tuple[bytes, list[bytes]]]) -> None:
        for entry, fields in entries:
            self._last = entry.decode()
            for request_id, value in zip(fields[::2], fields[1::2], strict=True):
                watches = self._watches.get(request_id)
                if watches:
                    self._tell(watches, value)
                elif self.on_news and request_id == NEWS.encode():
                    self.on_news(value)

    def _tell(self, watches: set[Watch], value: bytes) -> None:
        entry, _, payload = value.partition(b"\n")
        name = entry.decode()
        for watch in tuple(watches):
            if watch.receive(name, payload):
                self._spawn_resume(watch)

    def _spawn_resume(self, watch: Watch) -> None:
        task = asyncio.create_task(self._resume(watch), name="resume reply")
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    async def _resume(self, watch: Watch) -> None:
        with contextlib.suppress(LinkError):
            await watch.resume()

    async def _resume_all(self) -> None:
        for watches in tuple(self._watches.values()):
            for watch in tuple(watches):
                await self._resume(watch)

    async def _keep(self) -> None:
        """Give signs of life, and look after watches that have heard nothing for long."""
        while True:
            await asyncio.sleep(BLOCK_S)
            # Redis may refuse every write for a time: its memory or its disk is full.
            with contextlib.suppress(LinkError, redis.exceptions.ResponseError):
                if not await self._sign():
                    await self._begin()
                    await self._resume_all()
                await self._ask_silent()

    async def _ask_silent(self) -> None:
        limit = clock.monotonic() - SILENCE_S
        silent = [w for ws in self._watches.values() for w in ws if w.heard < limit]
        names = self._names
        statuses = await asyncio.gather(
            *(self._link.call("HGET", names.record(w.request_id), "status") for w in silent)
        )
        for watch, status in zip(silent, statuses, strict=True):
            watch.heard = clock.monotonic()
            if status is None or status in (b"completed", b"failed", b"cancelled"):
                await self._resume(watch)
