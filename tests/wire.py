"""A wire to a server that a test can cut, stall, or rob of replies, one connection or all."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_CHUNK = 65536
_NAME = re.compile(rb"SETNAME\r\n\$\d+\r\n([^\r]+)\r\n", re.IGNORECASE)


class _Pair:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        #: As the client has told Redis by CLIENT SETNAME.
        self.name = ""
        #: Whether the next reply is thrown away and the connection cut behind it.
        self.robbed = False

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Wire:
    """Listens on a free port and passes on to another; runs in a thread of its own."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._pairs: set[_Pair] = set()
        self._served: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire")
        self._open = asyncio.Event()
        self.port = 0
        #: How many connections were cut behind a reply that was thrown away.
        self.thefts = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Name the way to Redis over this wire."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ask(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ask(self._shut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, name: str = "") -> None:
        """Cut all connections, or those whose name holds this; new ones can be made."""
        self._do(lambda pair: pair.cut(), name)

    def rob(self, name: str = "") -> None:
        """Throw away the next reply of each connection and cut it: the server has done its part."""

        def rob(pair: _Pair) -> None:
            pair.robbed = True

        self._do(rob, name)

    def stall(self) -> None:
        """Pass nothing on any more, and accept connections that will hear nothing."""
        self._ask(self._stop_passing)

    def go_on(self) -> None:
        """Pass everything on again."""
        self._ask(self._pass)

    def names(self) -> list[str]:
        """List the names of the connections."""
        return [pair.name for pair in tuple(self._pairs)]

    def _do(self, act: Callable[[_Pair], None], name: str) -> None:
        async def do() -> None:
            for pair in tuple(self._pairs):
                if name in pair.name:
                    act(pair)

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    def _ask(self, what: Callable[[], "asyncio.Future[None] | object"]) -> None:
        async def ask() -> None:
            done = what()
            if asyncio.iscoroutine(done):
                await done

        asyncio.run_coroutine_threadsafe(ask(), self._loop).result(10)

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        assert self._server is not None
        self._server.close()
        self._open.set()
        while self._served:
            for pair in tuple(self._pairs):
                pair.cut()
            await asyncio.wait(tuple(self._served), timeout=0.1)
        # The transports close their sockets in the turns after they were cut.
        await asyncio.sleep(0.01)

    async def _stop_passing(self) -> None:
        self._open.clear()

    async def _pass(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._served.add(serving)
        serving.add_done_callback(self._served.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, far_writer)
        self._pairs.add(pair)
        ways = [self._forth(pair, reader), self._back(pair, far_reader)]
        with contextlib.suppress(OSError):
            await asyncio.gather(*ways, return_exceptions=True)
        self._pairs.discard(pair)

    async def _forth(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                await self._open.wait()
                found = _NAME.search(chunk)
                pair.name = found[1].decode() if found else pair.name
                pair.server.write(chunk)
                await pair.server.drain()
        finally:
            pair.cut()

    async def _back(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                await self._open.wait()
                if pair.robbed:
                    self.thefts += 1
                    return
                pair.client.write(chunk)
                await pair.client.drain()
        finally:
            pair.cut()
