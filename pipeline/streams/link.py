"""One Redis connection that many coroutines share: what they ask in one turn goes out in one write.

While a round trip is under way, further commands gather for the next: an idle link sends at
once, a busy one batches by itself. It never repeats a command on its own: whoever asked is told
that the connection was lost and knows whether asking again is safe.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import hiredis
import redis.exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool

from pipeline.streams.scripts import Script

Argument = str | int | float | bytes
#: A reply as RESP gives it: bytes, int, None, or lists of them.
Reply = Any

#: A packed command and the future of its reply.
_Asked = tuple[bytes, asyncio.Future[Reply]]

#: What a lost, refused or silent connection raises.
LinkError = redis.exceptions.ConnectionError

#: Commands sent in one write at the most; more would delay the first reply for no gain.
MAX_BATCH = 512

#: Pauses between attempts to connect again, in seconds; the last one repeats.
RECONNECT_S = (0.05, 0.1, 0.2, 0.5, 1.0)


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
            socket_read_size=131072,
            driver_info=None,
        )
        self._timeout_s = timeout_s
        self._on_connect = on_connect
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Asked] = []
        self._wake = asyncio.Event()
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connected: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect once, so that a wrong address fails at start, and keep connected.

        Raises `LinkError`.
        """
        await self._connect()
        self._task = asyncio.create_task(self._run(), name="redis link")

    async def close(self) -> None:
        """Disconnect; what still waits for a reply is told that the link is gone."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._fail([], ConnectionAbortedError("the link was closed"))
        await self._disconnect()

    @property
    def is_up(self) -> bool:
        """Whether Redis answered last."""
        return self._up.is_set()

    async def up(self) -> None:
        """Wait until the link is connected."""
        await self._up.wait()

    def call(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send a command with the next batch; its reply, or its error, comes by the future."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._connection is None or not self._up.is_set():
            future.set_exception(LinkError("Redis does not answer"))
            return future
        # hiredis packs in C: a fifth of the CPU of a transition, measured against redis-py's own.
        # Its types say a tuple of one word.
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]
        self._waiting.append((packed, future))
        self._wake.set()
        return future

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Reply:
        """Run a script; Redis is given its text when it has lost it."""
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return await self.call("EVAL", script.text, len(keys), *keys, *args)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting:
                self._wake.clear()
            try:
                await self._exchange(batch)
            except asyncio.CancelledError as error:
                self._fail(batch, error)
                raise
            except (LinkError, TimeoutError, OSError) as error:
                self._fail(batch, error)
                await self._reconnect()

    async def _exchange(self, batch: list[_Asked]) -> None:
        connection = self._connection
        assert connection is not None
        async with asyncio.timeout(self._timeout_s):
            packed = b"".join([packed for packed, _ in batch])
            await connection.send_packed_command(packed, check_health=False)
            for _, future in batch:
                await self._read(connection, future)

    async def _read(self, connection: AbstractConnection, future: asyncio.Future[Reply]) -> None:
        error: redis.exceptions.ResponseError | None = None
        reply: Reply = None
        try:
            reply = await connection.read_response(disable_decoding=True)
        except redis.exceptions.ResponseError as refused:
            error = refused
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(reply)

    def _fail(self, batch: list[_Asked], cause: BaseException) -> None:
        self._up.clear()
        for _, future in [*batch, *self._waiting]:
            if not future.done():
                future.set_exception(LinkError(f"the connection to Redis was lost: {cause!r}"))
        self._waiting.clear()
        self._wake.clear()

    async def _reconnect(self) -> None:
        pauses = iter(RECONNECT_S)
        pause = RECONNECT_S[0]
        while True:
            await self._disconnect()
            pause = next(pauses, pause)
            await asyncio.sleep(pause)
            with contextlib.suppress(redis.exceptions.RedisError, TimeoutError, OSError):
                return await self._connect()

    async def _connect(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        self._up.set()
        if self._on_connect:
            self._connected = asyncio.create_task(self._on_connect(), name="redis connected")

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._up.clear()
        if connection:
            await connection.disconnect(nowait=True)
