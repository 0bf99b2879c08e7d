"""The Python client for programs without an event loop: the same, each call until it is done.

    with SyncClient("redis://127.0.0.1:6379/0") as client:
        print(client.ask(prompt="Hello", timeout_s=60).content)

Its loop runs in a thread of its own, so that any number of threads may share one.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Self, TypeVar, Unpack

from pipeline.client import Answer, Body, Chunk, Client, State, Wishes
from pipeline.client_errors import ClientClosed

T = TypeVar("T")


class SyncClient:
    """What `Client` is, with its arguments, answers and errors."""

    def __init__(self, url: str | Client, *, namespace: str = "sluice") -> None:
        """Name the Redis and its namespace, or give a `Client` that is not open."""
        self._client = url if isinstance(url, Client) else Client(url, namespace=namespace)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sluice", daemon=True)

    def __enter__(self) -> Self:
        """Open it."""
        self._thread.start()
        try:
            self._run(self._client.open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._run(self._client.close())
        self._stop()

    def submit(self, body: Body | None = None, /, **wishes: Unpack[Wishes]) -> str:
        """Put a request in and give its id."""
        return self._run(self._client.submit(body, **wishes))

    def ask(
        self,
        body: Body | None = None,
        /,
        *,
        cancel_on_timeout: bool = False,
        **wishes: Unpack[Wishes],
    ) -> Answer:
        """Put a request in and wait for the whole answer."""
        asked = self._client.ask(body, cancel_on_timeout=cancel_on_timeout, **wishes)
        return self._run(asked)

    def stream(
        self,
        body: Body | None = None,
        /,
        *,
        cancel_on_timeout: bool = False,
        **wishes: Unpack[Wishes],
    ) -> Iterator[Chunk]:
        """Put a request in and give the answer's chunks as they come."""
        streamed = self._client.stream(body, cancel_on_timeout=cancel_on_timeout, **wishes)
        return self._each(streamed)

    def resume(
        self, request_id: str, after: str = "0-0", timeout_s: float | None = None
    ) -> Iterator[Chunk]:
        """Give a request's chunks from the first, or behind one's `entry`."""
        return self._each(self._client.resume(request_id, after, timeout_s))

    def result(self, request_id: str, timeout_s: float | None = None) -> Answer:
        """Wait for the whole answer of a request."""
        return self._run(self._client.result(request_id, timeout_s))

    def state(self, request_id: str) -> State:
        """Tell where a request is."""
        return self._run(self._client.state(request_id))

    def cancel(self, request_id: str, reason: str = "client") -> bool:
        """Cancel a request; tells whether it had not ended yet."""
        return self._run(self._client.cancel(request_id, reason))

    def _run(self, asked: Coroutine[None, None, T]) -> T:
        if not self._thread.is_alive():
            asked.close()
            raise ClientClosed("The client is not open.")
        future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return future.result()
        except BaseException:
            # An interrupted wait must not go on in the other thread.
            future.cancel()
            raise

    def _each(self, chunks: AsyncGenerator[Chunk, None]) -> Iterator[Chunk]:
        try:
            while chunk := self._run(_next(chunks)):
                yield chunk
        finally:
            self._run(_end(chunks))

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
    return await anext(chunks, None)


async def _end(chunks: AsyncGenerator[Chunk, None]) -> None:
    await chunks.aclose()
