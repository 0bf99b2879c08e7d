"""An upstream on a real socket that does to each connection what a test's script says."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from workers.providers.base import ProviderCall, Timeouts
from workers.providers.upstream import Upstream

Script = Callable[["Connection"], Awaitable[None]]

KEY = "sk-test-0123456789abcdef"
BODY = b'{"model":"fast","messages":[{"role":"user","content":"hi"}]}'
SHORT = Timeouts(connect_s=10, first_byte_s=10, idle_s=10, total_s=20)


class Request(msgspec.Struct, frozen=True):
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """The server's side of one connection, after one request has been read."""

    def __init__(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole answer; `_` in a header's name stands for `-`."""
        told = {"content_type": "application/json", "content_length": str(len(body)), **headers}
        await self.send(head(status, told) + body)

    async def begin(self, **headers: str) -> None:
        """Send the head of a chunked event stream."""
        told = {"content_type": "text/event-stream", "transfer_encoding": "chunked", **headers}
        await self.send(head(200, told))

    async def piece(self, data: bytes) -> None:
        """Send one HTTP chunk; an empty one ends the body."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def closed_by_peer(self) -> None:
        """Return once the client has closed the connection."""
        while await self._reader.read(4096):
            pass

    def close(self) -> None:
        """Close the connection in order."""
        self._writer.close()

    def reset(self) -> None:
        """Close the connection with a RST."""
        told = self._writer.get_extra_info("socket")
        told.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def head(status: int, headers: dict[str, str]) -> bytes:
    """Write the head of an answer."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Served:
    """The upstream's address, what it has received, and the client under test."""

    def __init__(self, port: int) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.requests: list[Request] = []
        self.connections = 0
        #: Scripts that ended, by the client's closing or by their own end.
        self.ended = 0
        self.upstream = Upstream()

    def call(self, **changes: object) -> ProviderCall:
        """Make a call of this upstream."""
        call = ProviderCall(
            request_id="r1",
            base_url=self.base_url,
            kind="openai",
            model="m-1",
            key=KEY,
            body=BODY,
            timeout=SHORT,
        )
        return msgspec.structs.replace(call, **changes)

    async def until(self, condition: Callable[[], bool], within_s: float = 3) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - the condition is anyone's
                await asyncio.sleep(0.005)


@asynccontextmanager
async def served(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    """Serve connections by the script, a request each time round, until the client closes."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        here.connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                here.requests.append(request)
                await script(Connection(request, reader, writer))
                here.ended += 1
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024, ssl=tls)
    here = Served(server.sockets[0].getsockname()[1])
    try:
        yield here
    finally:
        await here.upstream.close()
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        raw = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *rest = raw.strip().split("\r\n")
    headers = {name.lower(): text for name, text in (row.split(": ", 1) for row in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)
