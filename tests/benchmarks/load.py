"""The load generator, a process of its own: raw HTTP/1.1 on kept connections, next to no CPU.

It reads a plan from stdin, prints `ready` when the warm-up is over, and a report at the end.
"""

import asyncio
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop

from tests.benchmarks.plans import Account, Plan, Report, Target, Times

_END_OF_CHUNKS = b"\r\n0\r\n\r\n"
_FRAME = b"data: {"


class Client(asyncio.Protocol):
    """One connection: sends a request, reads its answer, tells when it is there."""

    __slots__ = ("_body", "_head", "_left", "_told", "_transport", "at", "began", "busy",
                 "fault", "first", "frames", "took")  # fmt: skip

    def __init__(self, told: Callable[["Client"], None], at: int) -> None:
        self._told = told
        #: Index of the target.
        self.at = at
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        self._head = b""
        self._body = b""
        #: Bytes that the body still lacks; -1: it comes in chunks.
        self._left = 0
        self.frames = 0
        self.fault = ""
        self.first = 0.0
        self.busy = True
        self.began = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        self.busy = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            return
        if not self.first:
            head, blank, data = (self._head + data).partition(b"\r\n\r\n")
            if not blank:
                self._head = head
                return
            self._read_head(head)
            self._head = head + blank
            if not data and self._left:
                return
            self.first = time.perf_counter() - self.began
        if self._left < 0:
            self._read_chunks(data)
        else:
            self._left -= len(data)
            if self._left <= 0:
                self._end()

    def _read_head(self, head: bytes) -> None:
        status, head = head[9:12], head.lower()
        if status not in (b"200", b"202"):
            self.fault = f"status {status.decode()}"
        _, named, after = head.partition(b"\r\ncontent-length: ")
        self._left = int(after.partition(b"\r\n")[0]) if named else -1

    def _read_chunks(self, data: bytes) -> None:
        """Count the frames; `_body` keeps as much as a frame's start or the end may be cut at."""
        joined = self._body + data
        self.frames += joined.count(_FRAME) - self._body.count(_FRAME)
        self._body = joined[-80:]
        if joined.endswith(_END_OF_CHUNKS):
            if b"[DONE]" not in self._body:
                self.fault = self.fault or "a stream without its end"
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        if self.busy:
            self.fault = "connection lost"
            self._end()

    def _end(self) -> None:
        self.took = time.perf_counter() - self.began
        self.busy = False
        self._told(self)

    @property
    def lost(self) -> bool:
        return self._transport.is_closing()


class Tally:
    """Counts what came of the requests to one target."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.first: list[float] = []
        self.frames = 0
        self.faults: Counter[str] = Counter()

    def add(self, client: Client) -> None:
        self.took.append(client.took)
        self.first.append(client.first)
        self.frames += client.frames
        if client.fault:
            self.faults[client.fault] += 1

    def account(self) -> Account:
        return Account(
            requests=len(self.took),
            faults=dict(self.faults),
            frames=self.frames,
            took=times(self.took),
            first=times(self.first),
        )


class Run:
    """Carries one plan out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests = [request(target) for target in plan.targets]
        self._open = self._peak = self._sent = self._ended = 0
        self._changed = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        self.tallies = [Tally() for _ in self.requests]
        self.began, self._cpu = time.perf_counter(), time.process_time()

    def report(self) -> Report:
        return Report(
            accounts=[tally.account() for tally in self.tallies],
            seconds=time.perf_counter() - self.began,
            cpu_s=time.process_time() - self._cpu,
            peak=self._peak,
        )

    async def go(self) -> None:
        if self.plan.ramp_s:
            print("ready", flush=True)
            self._begin()
            await self._each_once()
        elif self.plan.every_s:
            await self._every()
        else:
            await self._closed()

    async def connect(self, at: int) -> Client:
        loop = asyncio.get_running_loop()
        port = self.plan.targets[at].port
        _, client = await loop.create_connection(lambda: Client(self.told, at), "127.0.0.1", port)
        return client

    def send(self, client: Client) -> None:
        self._open += 1
        self._sent += 1
        self._peak = max(self._peak, self._open)
        client.send(self.requests[client.at])

    def told(self, client: Client) -> None:
        self._open -= 1
        self._ended += 1
        self.tallies[client.at].add(client)
        if self._ended == self.plan.warm:
            self._begin()
            print("ready", flush=True)
        if self.plan.ramp_s:
            client.close()
        elif not self.plan.every_s and not client.lost and self._goes_on():
            self.send(client)
            return
        self._changed.set()

    def _goes_on(self) -> bool:
        if self.plan.requests:
            return self._sent < self.plan.warm + self.plan.requests
        measuring = self._ended >= self.plan.warm
        return not measuring or time.perf_counter() - self.began < self.plan.seconds

    async def _quiet(self) -> None:
        while self._open:
            self._changed.clear()
            await self._changed.wait()

    async def _closed(self) -> None:
        clients = [await self.connect(0) for _ in range(self.plan.connections)]
        for client in clients:
            self.send(client)
        await self._quiet()

    async def _every(self) -> None:
        plan, loop = self.plan, asyncio.get_running_loop()
        numbers = range(len(plan.targets))
        clients = [[await self.connect(at) for _ in range(plan.connections)] for at in numbers]
        due, turn = loop.time(), 0
        while self._sent < plan.warm + plan.requests:
            await asyncio.sleep(max(0.0, due - loop.time()))
            for client in clients[turn % len(clients)]:
                self.send(client)
            await self._quiet()
            due, turn = max(due + plan.every_s, loop.time()), turn + 1

    async def _each_once(self) -> None:
        chance = random.Random(1)
        starts = sorted(chance.random() * self.plan.ramp_s for _ in range(self.plan.connections))
        await asyncio.gather(*(self._once(start) for start in starts))
        await self._quiet()

    async def _once(self, start: float) -> None:
        await asyncio.sleep(start)
        try:
            self.send(await self.connect(0))
        except OSError as error:
            self.tallies[0].faults[f"no connection: {error.strerror}"] += 1


def request(target: Target) -> bytes:
    """Write a request as it goes over the wire."""
    body = msgspec.json.encode(target.body)
    head = (
        f"POST {target.path} HTTP/1.1\r\nhost: 127.0.0.1:{target.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def times(taken_s: list[float]) -> Times:
    """Sum up how long things took."""
    if not taken_s:
        return Times()
    ms = sorted(1000 * taken for taken in taken_s)
    last = len(ms) - 1
    return Times(
        p50=ms[last // 2], p99=ms[round(last * 0.99)], max=ms[last], mean=sum(ms) / len(ms)
    )


async def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    run = Run(plan)
    gc.freeze()
    gc.disable()
    await run.go()
    print(msgspec.json.encode(run.report()).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
