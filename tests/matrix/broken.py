"""A provider that breaks each call in the way that the model's name says."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import msgspec

from tests.providers.served import Connection, Script, served
from tests.providers.shapes import CHUNKS, DONE, STREAM, WHOLE, error, frame

#: The model of it that works.
FINE: Final = "fine"
#: A model that answers 500 until its provider `works`.
SWITCHED: Final = "switched"
#: Models that are found at an address where nobody answers.
NOBODY, FULL = "nobody", "full"

_PAGE: Final = b"<html><head><title>Hi</title></head><body><h1>Sign in</h1></body></html>"


class _Asked(msgspec.Struct):
    model: str
    stream: bool = False


_asked: Final = msgspec.json.Decoder(_Asked).decode


def _is_stream(connection: Connection) -> bool:
    return _asked(connection.request.body).stream


async def _serve(connection: Connection) -> None:
    if not _is_stream(connection):
        await connection.answer(200, WHOLE)
        return
    await connection.begin()
    await connection.piece(STREAM)
    await connection.piece(b"")


async def _begin(connection: Connection, *, deltas: bool) -> None:
    """Send the head, and of the body the start or only what says nothing."""
    if _is_stream(connection):
        await connection.begin()
        shown = CHUNKS[:2] if deltas else CHUNKS[:1]
        await connection.piece(b"".join(map(frame, shown)))
    else:
        await connection.begin(content_type="application/json")
        await connection.piece(WHOLE[:50] if deltas else b" ")


async def _trickle(connection: Connection, *, deltas: bool) -> None:
    """Go on without ever coming to an end."""
    await _begin(connection, deltas=deltas)
    while True:  # until the client closes the connection, which sending then tells
        await connection.piece(b": still here\n\n" if _is_stream(connection) else b" ")
        await asyncio.sleep(0.05)


async def _stalls(connection: Connection) -> None:
    await _begin(connection, deltas=False)
    await connection.closed_by_peer()


async def _stalls_late(connection: Connection) -> None:
    await _begin(connection, deltas=True)
    await connection.closed_by_peer()


async def _trickles(connection: Connection) -> None:
    await _trickle(connection, deltas=False)


async def _trickles_late(connection: Connection) -> None:
    await _trickle(connection, deltas=True)


async def _resets(connection: Connection) -> None:
    connection.reset()


async def _closes(connection: Connection) -> None:
    connection.close()


async def _resets_late(connection: Connection) -> None:
    await _begin(connection, deltas=False)
    connection.reset()


async def _empty(connection: Connection) -> None:
    """Answer with nothing, and with no reason for its end."""
    if not _is_stream(connection):
        await connection.answer(
            200, msgspec.json.encode({"object": "chat.completion", "choices": []})
        )
        return
    await connection.begin()
    await connection.piece(frame(CHUNKS[0]) + DONE)
    await connection.piece(b"")


def _answering(status: int, body: bytes, content_type: str = "application/json") -> Script:
    async def answer(connection: Connection) -> None:
        await connection.answer(status, body, content_type=content_type)

    return answer


_SCRIPTS: Final[Mapping[str, Script]] = {
    FINE: _serve,
    SWITCHED: _answering(500, error()),
    "too_long": _answering(400, error(code="context_length_exceeded")),
    "filtered": _answering(400, error(code="content_filter")),
    "moderated": _answering(403, error(code=403, metadata={"reasons": ["violence"]})),
    "stalls": _stalls,
    "stalls_late": _stalls_late,
    "trickles": _trickles,
    "trickles_late": _trickles_late,
    "resets": _resets,
    "closes": _closes,
    "resets_late": _resets_late,
    "page": _answering(200, _PAGE, "text/html"),
    "no_stream": _answering(200, WHOLE),
    "empty": _empty,
    "error_400": _answering(200, error(code=400)),
    "error_429": _answering(200, error(code=429)),
    "error_503": _answering(200, error(code=503)),
}


class Broken:
    """The addresses of the provider, and what it was asked."""

    def __init__(self, base_url: str, elsewhere: Mapping[str, str]) -> None:
        self._base_url = base_url
        self._elsewhere = elsewhere
        #: Calls by our request id, but of the model that works.
        self.calls: Counter[str] = Counter()
        self.works = False

    def url(self, model: str) -> str:
        """Give the address at which a model is to be asked for."""
        return self._elsewhere.get(model, self._base_url)


@asynccontextmanager
async def broken() -> AsyncIterator[Broken]:
    """Run the provider in this loop."""

    async def serve(connection: Connection) -> None:
        model = _asked(connection.request.body).model
        here.calls[connection.request.headers["x-client-request-id"]] += model != FINE
        await _SCRIPTS[FINE if model == SWITCHED and here.works else model](connection)

    with _silent() as full, _closed() as nobody:
        async with served(serve) as server:
            here = Broken(server.base_url, {NOBODY: _url(nobody), FULL: _url(full)})
            yield here


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@contextmanager
def _closed() -> Iterator[socket.socket]:
    """Give a port that is taken, but at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken


@contextmanager
def _silent() -> Iterator[socket.socket]:
    """Give a listener whose queue is full: it answers no SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        try:
            yield full
        finally:
            for filler in fillers:
                filler.close()
