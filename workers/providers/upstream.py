"""Calls providers: one `Upstream` per process, over one pool of connections.

Every fault of a call comes out as `UpstreamError` with its cause; a timeout or a cancellation
closes the call's socket.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final, Self

import httpx

from pipeline.errors import UpstreamError
from workers.providers import health, verdict
from workers.providers.anthropic.translation import Anthropic
from workers.providers.azure import Azure
from workers.providers.base import (
    OPENAI_KINDS,
    Answer,
    Deltas,
    ProviderCall,
    Reader,
    Reply,
    Translation,
)
from workers.providers.gemini.translation import Gemini
from workers.providers.openai import OpenAI
from workers.providers.transport import AiohttpTransport, Body
from workers.providers.watch import Expired, Watch

#: The translation for each kind of provider.
TRANSLATIONS: Final[Mapping[str, Translation]] = {
    **dict.fromkeys(OPENAI_KINDS, OpenAI()),
    "anthropic": Anthropic(),
    "azure": Azure(),
    "gemini": Gemini(),
}

#: Causes that a provider has which is not there.
_NOBODY: Final = frozenset({"network", "timeout", "overloaded"})

#: An answer larger than this is given up; its total would not fit in Redis either.
MAX_ANSWER_BYTES: Final = 128 * 1024 * 1024
#: As much of an error's body as is read.
MAX_ERROR_BYTES: Final = 64 * 1024


class Upstream:
    """The way to all providers."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        translations: Mapping[str, Translation] = TRANSLATIONS,
    ) -> None:
        self._transport = transport or AiohttpTransport()
        self._translations = translations

    async def complete(self, call: ProviderCall) -> Reply:
        """Make a call whose answer comes whole; raises `UpstreamError`."""
        exchange = _Exchange(self._transport, call)
        try:
            translation = self._translation(call)
            await exchange.open(translation.request(call))
            body = await exchange.read(MAX_ANSWER_BYTES)
            return translation.reply(call, exchange.answer(body))
        finally:
            await exchange.close()

    def stream(self, call: ProviderCall) -> "Stream":
        """Make a call whose answer comes in deltas; nothing is sent before the first is awaited."""
        return Stream(_Exchange(self._transport, call), self._translation(call), call)

    async def is_alive(self, call: ProviderCall) -> bool:
        """Tell whether a provider answers at all; of the call only who and where counts."""
        exchange = _Exchange(self._transport, call)
        try:
            await exchange.open(health.look(call, self._translation(call)))
        except UpstreamError as error:
            return error.cause not in _NOBODY
        finally:
            await exchange.close()
        return True

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def _translation(self, call: ProviderCall) -> Translation:
        translation = self._translations.get(call.kind)
        if translation is None:
            told = f"Providers of the kind {call.kind!r} cannot be called yet."
            raise verdict.failed(call, "network", told, sent=False)
        return translation


class Stream:
    """The deltas of one call, as they come: iterate, then ask for the `reply`.

    Raises `UpstreamError` before or between deltas. Leave it early with `aclose`, or use it as
    a context.
    """

    __slots__ = ("_call", "_exchange", "_over", "_reader", "_translation")

    def __init__(self, exchange: "_Exchange", translation: Translation, call: ProviderCall) -> None:
        self._exchange = exchange
        self._translation = translation
        self._call = call
        self._reader: Reader | None = None
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Deltas:
        if self._over:
            raise StopAsyncIteration
        try:
            reader = self._reader or await self._open()
            while not self._over:
                deltas = await self._next(reader)
                if deltas is not None:
                    return deltas
        except BaseException:
            await self.aclose()
            raise
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def reply(self) -> Reply:
        """Give the whole reply, assembled from what has come; complete once the iteration ended."""
        if self._reader is None:
            raise verdict.failed(self._call, "network", "The stream was not begun.", sent=False)
        return self._reader.reply()

    async def aclose(self) -> None:
        """End the call, closing its socket if the answer has not come to its end."""
        self._over = True
        await self._exchange.close()

    async def _open(self) -> Reader:
        call, exchange = self._call, self._exchange
        await exchange.open(self._translation.request(call))
        head = exchange.answer()
        kind = head.headers.get("content-type", "")
        if "json" in kind or "html" in kind:
            raise self._of_whole(exchange.answer(await exchange.read(MAX_ERROR_BYTES)), kind)
        self._reader = self._translation.reader(call, head)
        return self._reader

    def _of_whole(self, answer: Answer, kind: str) -> UpstreamError:
        """Judge a whole answer where a stream was due, as Gemini gives to what it blocks."""
        try:
            self._translation.reply(self._call, answer)
        except UpstreamError as raised:
            if raised.cause != "network":
                return raised
        told = f"The provider answered with {kind} where a stream was due."
        error = verdict.error_within(self._call, answer, answer.body)
        return error or verdict.failed(self._call, "network", told)

    async def _next(self, reader: Reader) -> Deltas | None:
        if reader.failure is not None:
            raise reader.failure
        if reader.finished:
            self._over = True
            self._exchange.leave()
            return None
        try:
            data = await self._exchange.next()
        except UpstreamError as raised:
            deltas = reader.end()
            # A stream that had said all before it broke is as good as one that ended well.
            if reader.finished:
                return deltas
            if raised.cause == "network" and reader.failure is not None:
                if deltas is not None:
                    return deltas  # the failure counts them as given, and is raised next
                raise reader.failure from raised
            raise
        return reader.feed(data) if data else reader.end()


class _Exchange:
    """One request and its answer on the transport, with the call's timeouts."""

    __slots__ = ("_call", "_pieces", "_response", "_transport", "_watch")

    def __init__(self, transport: httpx.AsyncBaseTransport, call: ProviderCall) -> None:
        self._transport = transport
        self._call = call
        self._watch: Watch | None = None
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def open(self, request: httpx.Request) -> None:
        """Send the request and await the answer's head; raises when it is no success."""
        watch = self._watch = Watch(self._call.timeout)
        try:
            with watch:
                response = await self._transport.handle_async_request(request)
        except httpx.TransportError as raised:
            raise verdict.broken(self._call, raised) from raised
        except Expired as raised:
            raise verdict.overdue(self._call, raised) from raised
        self._response = response
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._pieces = aiter(response.stream)
        if not 200 <= response.status_code < 300:
            body = await self._error_body()
            raise verdict.refused(self._call, self.answer(body))

    async def next(self) -> bytes:
        """Give the next bytes of the body; empty: it has ended."""
        assert self._watch is not None
        assert self._pieces is not None
        try:
            with self._watch as watch:
                data = await anext(self._pieces, b"")
        except httpx.TransportError as raised:
            raise verdict.broken(self._call, raised) from raised
        except Expired as raised:
            raise verdict.overdue(self._call, raised) from raised
        watch.phase = "idle"
        return data

    async def read(self, limit: int) -> bytes:
        """Read the body to its end; raises when it is larger than the limit, in bytes."""
        pieces: list[bytes] = []
        size = 0
        while data := await self.next():
            pieces.append(data)
            size += len(data)
            if size > limit:
                raise verdict.failed(
                    self._call, "network", f"The provider's answer exceeds {limit} bytes."
                )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def answer(self, body: bytes = b"") -> Answer:
        """Give the answer's head, with a body."""
        assert self._response is not None
        return Answer(status=self._response.status_code, headers=self._response.headers, body=body)

    def leave(self) -> None:
        """Read no further what has said all, and keep the connection if it ends soon."""
        if self._response is not None and isinstance(self._response.stream, Body):
            self._response.stream.leave()
            self._response = None
        if self._watch is not None:
            self._watch.close()

    async def close(self) -> None:
        """Close the socket, unless the answer has come to its end."""
        if self._watch is not None:
            self._watch.close()
        response, self._response = self._response, None
        if response is not None and isinstance(response.stream, httpx.AsyncByteStream):
            await response.stream.aclose()

    async def _error_body(self) -> bytes:
        """Read an error's body as far as it comes; the status has been told already."""
        pieces: list[bytes] = []
        try:
            while data := await self.next():
                pieces.append(data)
                if sum(map(len, pieces)) > MAX_ERROR_BYTES:
                    break
        except UpstreamError:
            pass
        return b"".join(pieces)
