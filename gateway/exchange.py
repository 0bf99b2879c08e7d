"""One HTTP request and its answer, straight on ASGI: the hot routes cannot afford more."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from pipeline import clock
from pipeline.errors import BodyTooLarge
from pipeline.event import Closing, Event, Trace

Headers = Sequence[tuple[bytes, bytes]]

JSON_TYPE: Final = (b"content-type", b"application/json")
TEXT_TYPE: Final = (b"content-type", b"text/plain; charset=utf-8")
#: No proxy may hold frames back or change them.
STREAM_HEADERS: Final = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
SSE_TYPE: Final = (b"content-type", b"text/event-stream; charset=utf-8")


class ClientGone(Exception):
    """The client closed its connection: nobody is left to be answered."""


class Watcher(Protocol):
    """Follows an exchange that is traced."""

    trace: Trace
    event: Event | None
    closing: Closing | None

    def began(self) -> None:
        """Note that the answer has begun."""
        ...

    def wrote(self, data: bytes, /) -> None:
        """Note a part of the answer."""
        ...


class Exchange:
    """One request; its answer is whole (`answer`) or a stream (`begin`, `write`, `finish`)."""

    __slots__ = (
        "_receive", "_send", "arrived", "began", "closing_frame", "finished", "gone", "headers",
        "on_end", "promise", "repeats", "request_id", "scope", "served", "started", "status",
        "stream_type", "told",
        "wrote",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        #: Ours, also where the client sent an X-Request-Id of its own.
        self.request_id = clock.new_id()
        self.stream_type = SSE_TYPE
        #: Gives what a stream has to end with when something of ours breaks in the middle of it.
        self.closing_frame: Callable[[], bytes] | None = None
        #: Asks for the headers that only an answer has, when that begins; none: it has none.
        self.promise: Callable[[], Awaitable[Headers]] | None = None
        #: Headers that tell of the request's way, where that is known when the answer begins.
        self.told: Headers = ()
        #: Whether the answer is that of another request, which held the same key.
        self.repeats = False
        #: Follows it where it is traced, and is told when it is over.
        self.served: Watcher | None = None
        self.on_end: Callable[[], None] | None = None
        #: Of the answer; 0: it has not started.
        self.status = 0
        #: When a stream began, on the loop's clock; 0: the answer is none.
        self.began = 0.0
        self.started = False
        self.finished = False
        self.gone = False
        #: When the request's head had come, and a byte was last written, on the loop's clock.
        self.arrived = self.wrote = asyncio.get_running_loop().time()

    def path(self, name: str) -> str:
        """Give a part of the path by its name in the route."""
        value: str = self.scope["path_params"][name]
        return value

    def header(self, name: bytes) -> str:
        """Give a header's text, or nothing; `name` is in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def query(self, name: str) -> str:
        """Give the last value of a parameter in the query, or nothing."""
        values = parse_qs(self.scope["query_string"].decode("latin-1")).get(name)
        return values[-1] if values else ""

    async def body(self, most_bytes: int) -> bytes:
        """Read the body. Raises `BodyTooLarge` as soon as that is known, and `ClientGone`."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > most_bytes:
            raise _too_large(most_bytes)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            whole: bytes = message["body"]
            return _within(whole, most_bytes)
        parts = bytearray()
        while message["type"] == "http.request":
            parts += _within(message["body"], most_bytes - len(parts), most_bytes)
            if not message.get("more_body"):
                return bytes(parts)
            message = await self._receive()
        self.gone = True
        raise ClientGone

    async def answer(self, status: int, body: bytes, headers: Headers = (JSON_TYPE,)) -> None:
        """Send the whole answer."""
        length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)
        await self._start(status, [*headers, *length])
        self.finished = True
        if self.served:
            self.served.wrote(body)
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self) -> None:
        """Begin to answer with a stream, unless that is done: the status is 200 from now on."""
        if self.started:
            return
        headers = [self.stream_type, *STREAM_HEADERS, *await self.promised()]
        # Meanwhile another task may have begun, or refused.
        if not self.started:
            self.began = asyncio.get_running_loop().time()
            await self._start(200, headers)

    async def promised(self) -> Headers:
        """Ask for the headers that only an answer has."""
        return await self.promise() if self.promise else ()

    async def write(self, data: bytes) -> None:
        """Send a part of the stream; waits while the client is slow to read."""
        self.wrote = asyncio.get_running_loop().time()
        if self.served:
            self.served.wrote(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """End the stream, with its last part."""
        self.finished = True
        if self.served and data:
            self.served.wrote(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def until_gone(self) -> None:
        """Wait until the client has closed its connection, or the answer is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = not self.finished

    def took(self, event: Event) -> None:
        """Note the event as which the request was accepted, for who follows it."""
        if self.served:
            self.served.event = event

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        self.status = status
        headers.append((b"x-request-id", self.request_id.encode()))
        headers += self.told
        if self.served:
            self.served.began()
            headers.append((b"x-trace-id", self.served.trace.id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def _within(part: bytes, left: int, most_bytes: int = 0) -> bytes:
    if len(part) > left:
        raise _too_large(most_bytes or left)
    return part


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {most_bytes} bytes (gateway.max_body_bytes).")
