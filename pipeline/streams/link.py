"""One Redis connection that many coroutines share: what they ask in one turn goes out in one write.

redis-py makes the connection (address, TLS, login); after that hiredis packs and parses, with
nothing between it and the socket: per round trip a third of the CPU of redis-py's streams, and
on the way of a request lie a dozen. A link never repeats a command on its own: whoever asked is
told that the connection was lost and knows whether asking again is safe.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, cast

import hiredis
import redis.exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool

from pipeline.streams.scripts import Script

Argument = str | int | float | bytes
#: A reply as RESP gives it: bytes, int, None, or lists of them.
Reply = Any

#: What a lost, refused or silent connection raises.
LinkError = redis.exceptions.ConnectionError

#: Pauses between attempts to connect again, in seconds; the last one repeats.
RECONNECT_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)

#: Error codes that mean something to us; all others are plain `ResponseError`s.
_ERRORS: Final[Mapping[str, type[redis.exceptions.RedisError]]] = {
    "NOSCRIPT": redis.exceptions.NoScriptError,
    "OOM": redis.exceptions.OutOfMemoryError,
    # A server that is loading, or has become a replica, is as good as none: connect anew.
    "LOADING": redis.exceptions.BusyLoadingError,
    "READONLY": LinkError,
    "MASTERDOWN": LinkError,
}


class Traffic:
    """What has gone over a link so far, for whoever wants to know."""

    __slots__ = ("commands", "reconnects", "writes")

    def __init__(self) -> None:
        self.commands = 0
        #: Each with all the commands of a turn: a round trip.
        self.writes = 0
        self.reconnects = 0


class _Wire(asyncio.Protocol):
    """The bytes of one connection: commands out in order, replies back in the same order."""

    def __init__(
        self,
        transport: asyncio.Transport,
        timeout_s: float,
        on_lost: Callable[[], None],
        traffic: Traffic,
    ) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._on_lost = on_lost
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=_error)
        self._asked: deque[asyncio.Future[Reply]] = deque()
        self._out: list[bytes] = []
        #: When Redis was last heard, or first asked after all had been answered.
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False

    def ask(self, packed: bytes) -> asyncio.Future[Reply]:
        """Send a command with all others of this turn."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if not self._out:
            self._loop.call_soon(self._send)
        if not self._asked:
            self._since = self._loop.time()
        self._asked.append(future)
        self._out.append(packed)
        return future

    def _send(self) -> None:
        out, self._out = self._out, []
        if self._lost:
            return
        self._traffic.commands += len(out)
        self._traffic.writes += 1
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)

    def _look(self) -> None:
        """Give up a server that keeps the connection open and answers nothing."""
        self._timer = None
        if not self._asked:
            return
        left_s = self._since + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self.lose(TimeoutError(f"no answer for {self._timeout_s:g} s"))

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that the bytes complete."""
        self._since = self._loop.time()
        self._reader.feed(data)
        while not self._lost and (reply := self._reader.gets()) is not False:
            if isinstance(reply, LinkError):
                self.lose(reply)
                return
            future = self._asked.popleft()
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone who waits."""
        self.lose(exc or ConnectionResetError("Redis closed the connection"))

    def lose(self, cause: BaseException) -> None:
        """Give the connection up; everyone who waits for a reply is told."""
        if self._lost:
            return
        self._lost = True
        self._transport.abort()
        if self._timer:
            self._timer.cancel()
        while self._asked:
            future = self._asked.popleft()
            if not future.done():
                future.set_exception(LinkError(f"the connection to Redis was lost: {cause!r}"))
        self._on_lost()


def _error(text: str) -> redis.exceptions.RedisError:
    code, _, rest = text.partition(" ")
    if code == "ERR":
        return redis.exceptions.ResponseError(rest)
    kind = _ERRORS.get(code)
    return kind(rest) if kind else redis.exceptions.ResponseError(text)


class Link:
    """A connection that connects again by itself and pipelines by itself.

    `on_connect` runs as a task of its own after each connection made.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        timeout_s: float = 5.0,
        on_connect: Callable[[], Coroutine[None, None, None]] | None = None,
    ) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            client_name=name,
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            driver_info=None,
        )
        self._timeout_s = timeout_s
        self._on_connect = on_connect
        self.traffic = Traffic()
        self._connection: AbstractConnection | None = None
        self._wire: _Wire | None = None
        self._up = asyncio.Event()
        self._closed = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._connected: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect once, so that a wrong address fails at start, and keep connected.

        Raises `LinkError`.
        """
        await self._connect()

    async def close(self) -> None:
        """Disconnect; what still waits for a reply is told that the link is gone."""
        self._closed = True
        if self._reconnecting:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
        if self._wire:
            self._wire.lose(ConnectionAbortedError("the link was closed"))
        await self._disconnect()

    async def up(self) -> None:
        """Wait until the link is connected."""
        await self._up.wait()

    def call(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send a command with all others of this turn; its reply, or its error, is the future's."""
        if self._wire is None or not self._up.is_set():
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            future.set_exception(LinkError("Redis does not answer"))
            return future
        # hiredis's types say a tuple of one word.
        return self._wire.ask(hiredis.pack_command(command))  # type: ignore[arg-type]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Reply:
        """Run a script; Redis is given its text when it has lost it."""
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return await self.call("EVAL", script.text, len(keys), *keys, *args)

    def _lose(self) -> None:
        self._up.clear()
        if not self._closed:
            self._reconnecting = asyncio.create_task(self._reconnect(), name="redis reconnect")

    async def _reconnect(self) -> None:
        pauses = iter(RECONNECT_S)
        pause = RECONNECT_S[0]
        while True:
            await self._disconnect()
            pause = next(pauses, pause)
            await asyncio.sleep(pause)
            with contextlib.suppress(redis.exceptions.RedisError, TimeoutError, OSError):
                await self._connect()
                self.traffic.reconnects += 1
                return

    async def _connect(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
            # The one thing of redis-py's inside that we touch: the socket it has logged in.
            writer = connection._writer  # noqa: SLF001
            assert writer is not None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        transport = cast("asyncio.Transport", writer.transport)
        self._connection = connection
        self._wire = _Wire(transport, self._timeout_s, self._lose, self.traffic)
        transport.set_protocol(self._wire)
        self._up.set()
        if self._on_connect:
            self._connected = asyncio.create_task(self._on_connect(), name="redis connected")

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._wire = None
        self._up.clear()
        if connection:
            await connection.disconnect(nowait=True)
