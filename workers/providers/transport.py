"""The HTTP transport under all provider calls: httpx's interface over aiohttp's pool.

httpx's own pool is searched linearly: measured, 0.46 ms of CPU a whole call at 1 in flight, 1.3
at 64, 1.5 at 512; httpx-aiohttp's transport within an `AsyncClient` takes 0.25 ms, this one,
called directly, 0.14, 0.10 and 0.19 (`python -m tests.providers.bench_transport`).
Timeouts other than the connection's are the caller's (watch.py).
"""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Final

import aiohttp
import httpx
import yarl

from workers.providers.egress import Proxy, proxy_of

#: A body larger than this is sent in pieces, so that it does not hold the loop.
_PIECEWISE_BYTES: Final = 2**20
#: How long an answer whose end nobody waits for may take to end, for its connection to be
#: used again.
_LINGER_S: Final = 1.0
#: Idle connections are kept this long; many servers close theirs not much later.
_KEEP_ALIVE_S: Final = 15.0
#: aiohttp would add these by itself.
_OURS_ALONE: Final = ("accept", "accept-encoding", "user-agent", "content-type")

#: aiohttp's errors, the most particular first, and what they are called in httpx.
_ERRORS: Final[Mapping[type[Exception], type[httpx.TransportError]]] = {
    aiohttp.ConnectionTimeoutError: httpx.ConnectTimeout,
    aiohttp.SocketTimeoutError: httpx.ReadTimeout,
    aiohttp.ClientProxyConnectionError: httpx.ProxyError,
    aiohttp.ClientHttpProxyError: httpx.ProxyError,
    aiohttp.ClientConnectorError: httpx.ConnectError,
    aiohttp.ServerFingerprintMismatch: httpx.ConnectError,
    aiohttp.ServerDisconnectedError: httpx.RemoteProtocolError,
    aiohttp.ClientResponseError: httpx.RemoteProtocolError,
    aiohttp.ClientPayloadError: httpx.ReadError,
    aiohttp.ClientConnectionError: httpx.ReadError,
    aiohttp.InvalidURL: httpx.UnsupportedProtocol,
    aiohttp.NonHttpUrlClientError: httpx.UnsupportedProtocol,
    aiohttp.ClientError: httpx.ReadError,
    # Of the socket itself, and what aiohttp lets through of its parser.
    OSError: httpx.ReadError,
    aiohttp.http_exceptions.HttpProcessingError: httpx.RemoteProtocolError,
}
_RAISED: Final = tuple(_ERRORS)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One pool of connections without a limit: the gate has already limited the calls.

    Bodies come decoded: `content-encoding` is undone here. Redirects are not followed, and
    nothing is read from the environment. `request.extensions` may hold httpx's `timeout`, of
    which `connect` counts, and `proxy`, the address of one.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        #: Answers that nobody reads, whose end may still come.
        self._left: set[aiohttp.ClientResponse] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; give the answer once its head is there, the body as a stream."""
        session = self._session or self._open()
        url = _url(str(request.url))
        content = await request.aread()
        timeout = request.extensions.get("timeout") or {}
        address = request.extensions.get("proxy")
        proxy = proxy_of(address) if address else None
        headers = [(name.decode(), text.decode()) for name, text in request.headers.raw]
        if url.scheme == "http":
            headers += _presented(proxy)
        try:
            answer = await session.request(
                request.method,
                url,
                headers=headers,
                data=io.BytesIO(content) if len(content) > _PIECEWISE_BYTES else content or None,
                allow_redirects=False,
                timeout=_timeout(timeout.get("connect")),
                ssl=self._context() if url.scheme == "https" else True,
                proxy=proxy.url if proxy else None,
                # A tunnel's own head; what needs none says it in the request itself.
                proxy_headers=_presented(proxy) if url.scheme == "https" else None,
            )
        except _RAISED as raised:
            raise _translated(raised, request) from raised
        body = Body(answer, request, self._left)
        return httpx.Response(answer.status, headers=_headers(answer), stream=body, request=request)

    async def aclose(self) -> None:
        """Close the pool and every connection."""
        for answer in list(self._left):
            _close(answer, self._left)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        # limit=0 is none; leaving it out means 100.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OURS_ALONE,
            trust_env=False,
        )
        return self._session

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context(trust_env=False)
        return self._tls


class Body(httpx.AsyncByteStream):
    """The body of an answer, piece by piece: each is all that has arrived."""

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        request: httpx.Request,
        left: set[aiohttp.ClientResponse],
    ) -> None:
        self._answer = answer
        self._request = request
        self._left = left
        self._broken: httpx.TransportError | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._broken is not None:
            raise self._broken
        try:
            data = await self._answer.content.readany()
        except _RAISED as raised:
            self._broken = _translated(raised, self._request)
            # What came before the break still counts, the end of a stream above all.
            data = self._answer.content._read_nowait(-1)  # noqa: SLF001 - no public way
            if not data:
                raise self._broken from raised
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Close the connection, unless the body has been read to its end."""
        self._answer.close()

    def leave(self) -> None:
        """Read no further; an end that comes soon saves the connection for the next call."""
        if not self._answer.closed:
            self._left.add(self._answer)
            asyncio.get_running_loop().call_later(_LINGER_S, _close, self._answer, self._left)


def _close(answer: aiohttp.ClientResponse, left: set[aiohttp.ClientResponse]) -> None:
    left.discard(answer)
    answer.close()


def _presented(proxy: Proxy | None) -> list[tuple[str, str]]:
    """Give the proxy's password apart from its address, which aiohttp's errors quote."""
    said = proxy.authorization if proxy else ""
    return [("Proxy-Authorization", said)] if said else []


def _headers(answer: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    raw = list(answer.raw_headers)
    if "content-encoding" not in answer.headers:
        return raw
    gone = (b"content-encoding", b"content-length")
    return [(name, text) for name, text in raw if name.lower() not in gone]


def _translated(raised: Exception, request: httpx.Request) -> httpx.TransportError:
    for foreign, ours in _ERRORS.items():
        if isinstance(raised, foreign):
            return ours(str(raised) or type(raised).__name__, request=request)
    raise raised


@lru_cache(maxsize=1024)
def _url(url: str) -> yarl.URL:
    return yarl.URL(url, encoded=True)


@lru_cache(maxsize=64)
def _timeout(connect_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect_s, ceil_threshold=1e9)
