"""A tiny stand-in for the workers: plays all hops' part, over real Redis by the shipped scripts.

What it does with a request is in the model's name, as in `sim/echo`; see `BEHAVIOURS`.
`python -m tests.gateway.standin REDIS_URL` runs it as a process.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine

import msgspec
import redis.exceptions
import uvloop

from pipeline import event as events
from pipeline.errors import Cause, Failure
from pipeline.event import Closing, Event, Line
from pipeline.names import LANES, Names
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.replies import Replies
from pipeline.streams.scripts import TRANSITION
from tests.gateway.answers import USAGE, WORDS, chunk, completion, usage_chunk

ME = "standin"


class Standin:
    """Reads the request streams, answers, and ends each request in one step."""

    def __init__(self, url: str, names: Names | None = None) -> None:
        self.names = names or Names()
        self._link = Link(url, name="standin")
        self._reader = Link(url, name="standin-reader", timeout_s=10)
        self._replies = Replies(self._link, self.names)
        self._ending: list[Argument] = []
        self._ended = 0
        self._writer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._link.open()
        await self._reader.open()
        try:
            await self._work()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._reader.close()
            await self._link.close()

    async def _work(self) -> None:
        while True:
            with contextlib.suppress(LinkError):
                await self._prepare()
                await self._read()
            await asyncio.gather(self._link.up(), self._reader.up())

    async def _prepare(self) -> None:
        for stream in self.names.requests.values():
            with contextlib.suppress(redis.exceptions.ResponseError):
                await self._link.call("XGROUP", "CREATE", stream, "route", "0", "MKSTREAM")
        await self._link.call("SADD", self.names.workers, ME)
        await self._link.call("SET", self.names.worker(ME), "1")

    async def _read(self) -> None:
        streams = [self.names.requests[lane] for lane in LANES]
        marks = [">"] * len(streams)
        while True:
            reply = await self._reader.call(
                "XREADGROUP", "GROUP", "route", ME, "COUNT", 500, "BLOCK", 2000,
                "STREAMS", *streams, *marks,
            )  # fmt: skip
            for stream, entries in reply or ():
                for entry, fields in entries:
                    self._begin(stream.decode(), entry.decode(), events.decode(fields[1]))

    def _begin(self, stream: str, entry: str, event: Event) -> None:
        name = event.model.partition("/")[2] or event.model
        behave = BEHAVIOURS.get(name, echo)
        task = asyncio.create_task(behave(Case(self, stream, entry, event)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask(self, *command: Argument) -> Reply:
        """Ask Redis something, as often as it takes."""
        while True:
            try:
                return await self._link.call(*command)
            except LinkError:
                await self._link.up()

    def end(self, case: "Case", closing: Closing, fields: dict[str, Argument]) -> None:
        """End a request, together with others that end in the same turn."""
        event = case.event
        self._ending += [case.stream[len(self.names.prefix) + 1 :], "route", case.entry, event.id]
        ended = msgspec.structs.replace(event, body=events.NO_BODY, status=closing.status)
        self._ending += ["E", events.encode(ended), "", events.encode(closing), 60, event.session]
        self._ending += [len(fields)]
        for name, value in fields.items():
            self._ending += [name, value]
        self._ended += 1
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._ended:
                count, outcomes = self._ended, self._ending
                self._ended, self._ending = 0, []
                args: list[Argument] = [self.names.prefix, ME, "600 900", count, *outcomes, 0, 0, 0]
                await self._link.run(TRANSITION, [self.names.prefix], args)
        finally:
            self._writer = None

    def open(self, case: "Case", generation: int) -> "Writing":
        """Begin a generation of a reply."""
        return Writing(self._replies, case, generation)


class Case(msgspec.Struct):
    """One request that is being answered."""

    standin: Standin
    stream: str
    entry: str
    event: Event
    generation: int = 0
    deltas: int = 0

    async def told_to_go(self) -> None:
        """Wait until the key `go:{user}` is there."""
        while not await self.standin.ask("EXISTS", f"go:{self.event.user}"):  # noqa: ASYNC110 - told by a test
            await asyncio.sleep(0.01)

    def complete(self, response: bytes = b"") -> None:
        """End it well, with a journal of two lines."""
        closing = Closing(
            status="completed",
            generation=self.generation,
            deltas=self.deltas,
            finish_reason="stop",
            usage=USAGE,
        )
        now = f"{self.event.created + 0.5:.6f}"
        fields: dict[str, Argument] = {
            "status": "completed",
            "started": now,
            "finished": now,
            "attempts": 1,
            "finish_reason": "stop",
            "usage": events.encode(USAGE),
            "1": events.encode(Line(hop="route", start=1.0, end=1.5, facts={"candidates": 1})),
            "2": events.encode(Line(hop="gate", start=1.5, end=2.0)),
        }
        if response:
            fields["response"] = response
        self.standin.end(self, closing, fields)

    def fail(self, status: int, code: str, cause: Cause, retry_after_s: float = 0.0) -> None:
        """End it badly."""
        failure = Failure(
            message=f"It failed: {code}",
            code=code,
            status=status,
            cause=cause,
            retry_after_s=retry_after_s,
        )
        self.fail_with(failure)

    def fail_with(self, failure: Failure) -> None:
        """End it with a failure."""
        closing = Closing(
            status="failed", generation=self.generation, deltas=self.deltas, failure=failure
        )
        fields: dict[str, Argument] = {"status": "failed", "failure": events.encode(failure)}
        self.standin.end(self, closing, fields)


class Writing:
    """The deltas of one generation."""

    def __init__(self, replies: Replies, case: Case, generation: int) -> None:
        self._writer = replies.open(case.event.id, generation)
        self._case = case
        case.generation = generation

    async def write(self, *chunks: bytes) -> None:
        """Write one entry of chunks."""
        self._writer.write(chunks)
        await self._writer.flushed()
        self._case.deltas = self._writer.place

    @property
    def cancelled(self) -> bool:
        """Whether the client wants no more."""
        return self._writer.cancelled


async def echo(case: Case) -> None:
    """Answer with four words, as asked: whole, or one entry a word."""
    if not case.event.stream:
        case.complete(completion("".join(WORDS)))
        return
    writing = case.standin.open(case, 1)
    await writing.write(chunk("", role="assistant"))
    for word in WORDS:
        await writing.write(chunk(word))
    last = [chunk(finish="stop")]
    if case.event.include_usage:
        last.append(usage_chunk())
    await writing.write(*last)
    case.complete()


async def body(case: Case) -> None:
    """Answer with the request's body as it came, however large."""
    given = case.event.body if case.event.has_body else await _stored(case)
    case.complete(completion(bytes(memoryview(given)).decode()))


async def _stored(case: Case) -> msgspec.Raw:
    key = case.standin.names.body(case.event.id)
    return msgspec.Raw(await case.standin.ask("GET", key))


async def tell(case: Case) -> None:
    """Answer with the event's facts."""
    event = msgspec.structs.replace(case.event, body=events.NO_BODY)
    case.complete(completion(events.encode(event).decode()))


async def long(case: Case) -> None:
    """Write 100 words, one entry each."""
    writing = case.standin.open(case, 1)
    for _ in range(100):
        await writing.write(chunk("twenty bytes of text"))
    case.complete()


async def ticks(case: Case) -> None:
    """Write a word every half second, for ten seconds."""
    writing = case.standin.open(case, 1)
    for _ in range(20):
        await writing.write(chunk("twenty bytes of text"))
        await asyncio.sleep(0.5)
    case.complete()


async def joined(case: Case) -> None:
    """Write all words as one entry."""
    writing = case.standin.open(case, 1)
    await writing.write(*(chunk(word) for word in WORDS))
    case.complete()


async def slow(case: Case) -> None:
    """Say one word, and the others when the key `go:{user}` is there."""
    writing = case.standin.open(case, 1)
    await writing.write(chunk(WORDS[0]))
    await case.told_to_go()
    for word in WORDS[1:]:
        await writing.write(chunk(word))
    if writing.cancelled:
        case.fail(499, "cancelled", "cancelled")
    else:
        case.complete()


async def silent(case: Case) -> None:
    """Answer only when the key `go:{user}` is there."""
    await case.told_to_go()
    await echo(case)


async def parked(case: Case) -> None:
    """Stand in the waiting room until the key `go:{user}` is there; `place:{user}` tells where."""
    names, event = case.standin.names, case.event
    ask = case.standin.ask
    place = await ask("GET", f"place:{event.user}")
    await ask("SET", f"place:{event.leg}.{event.id}", place)
    await ask("HSET", names.parked, event.id, events.encode(event))
    await ask("HSET", names.record(event.id), "status", "waiting")
    await case.told_to_go()
    await ask("HDEL", names.parked, event.id)
    await echo(case)


async def refused(case: Case) -> None:
    """Fail as `failure:{user}` says."""
    told = await case.standin.ask("GET", f"failure:{case.event.user}")
    case.fail_with(msgspec.json.decode(told, type=Failure))


async def never(case: Case) -> None:
    """Do not answer."""


async def restart(case: Case) -> None:
    """Cut the first generation after a word that has been seen, and begin anew."""
    await case.standin.open(case, 1).write(chunk("lost"))
    await asyncio.sleep(0.1)
    writing = case.standin.open(case, 2)
    await writing.write(chunk("kept"))
    case.complete()


async def cut(case: Case) -> None:
    """Fail after a word."""
    await case.standin.open(case, 1).write(chunk("half"))
    await asyncio.sleep(0.05)
    case.fail(502, "stream_interrupted", "interrupted")


async def overloaded(case: Case) -> None:
    """Fail before a word, with a hint."""
    case.fail(503, "provider_exhausted", "exhausted", 2.5)


async def limited(case: Case) -> None:
    """Fail with a hint that is longer than clients wait."""
    case.fail(429, "rate_limit_exceeded", "rate_limited", 600)


BEHAVIOURS: dict[str, Callable[[Case], Coroutine[None, None, None]]] = {
    each.__name__: each
    for each in (
        echo,
        body,
        tell,
        joined,
        long,
        ticks,
        slow,
        silent,
        parked,
        refused,
        never,
        restart,
        cut,
        overloaded,
        limited,
    )
}

if __name__ == "__main__":
    uvloop.run(Standin(sys.argv[1]).run())
