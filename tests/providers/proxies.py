"""A forward proxy on a real socket, which asks for a user and a password; and TLS to go with it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trustme

_CHUNK = 65536


class Proxy:
    """Passes CONNECT tunnels and plain requests on to one port, whatever host they name."""

    def __init__(self, wanted: str) -> None:
        #: What `Proxy-Authorization` has to say; empty: nothing.
        self.wanted = wanted
        self.port = 0
        #: Where everything goes.
        self.target = 0
        #: The first line of each request, and the authorization that came with it.
        self.asked: list[tuple[str, str]] = []
        #: What a request gets instead of an answer; empty: an answer.
        self.refusal = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *rest = head.decode().strip().split("\r\n")
            headers = {name.lower(): text for name, text in (row.split(": ", 1) for row in rest)}
            given = headers.get("proxy-authorization", "")
            self.asked.append((line, given))
            if self.refusal or given != self.wanted:
                writer.write(self.refusal or b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            await self._pass(line, head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _pass(
        self, line: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        if line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            kept = [row for row in head.split(b"\r\n") if not row.lower().startswith(b"proxy-")]
            far_writer.write(b"\r\n".join(kept))
        try:
            await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))
        finally:
            far_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxied(wanted: str = "") -> AsyncIterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy(wanted)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await proxy.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


def tls_pair(host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make the contexts of a server for a host and of a client that trusts it alone."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client
