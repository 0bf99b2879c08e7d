"""The Python client: requests straight into the pipeline, over Redis and without a gateway.

    async with Client("redis://127.0.0.1:6379/0") as client:
        answer = await client.ask(prompt="Hello", model="fast", timeout_s=60)

All requests of a client share two connections. `pipeline.client_sync` is its synchronous face.
"""

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, Self, Unpack

import msgspec

from pipeline.client_errors import QueueTimeoutError, UserIdHeaderMissingError
from pipeline.client_post import Post
from pipeline.client_reply import Answer, Chunk, Hearing, State, answer, chunks, state_of
from pipeline.client_request import Body, Request, Wishes, request_of
from pipeline.errors import BadRequest
from pipeline.settings.load import DEFAULT_REDIS_URL, Settings, load
from pipeline.streams.inbox import CLOSING, TURN

__all__ = ["Answer", "Body", "Chunk", "Client", "State", "Wishes"]

_ENTRY: Final = re.compile(r"\d{1,18}-\d{1,18}")


class Client:
    """A way into the pipeline; open it on its event loop, once, and close it there.

    Every coroutine of it may be awaited by any number of tasks at once. It raises
    `RequestFailed` for what becomes of a request, with its id; `BadRequest` for what is none;
    `ClientClosed` when it is not open, or is closed meanwhile.
    """

    def __init__(
        self,
        url: str = DEFAULT_REDIS_URL,
        *,
        namespace: str = "sluice",
        default_model: str = "fast",
        default_embedding_model: str = "",
        require_user: bool = False,
    ) -> None:
        """Name the Redis and the namespace in it. Raises `ValueError` for what is no address.

        `require_user` refuses requests without a user (`UserIdHeaderMissingError`).
        """
        self._post = Post(url, namespace)
        self._default_models = default_model, default_embedding_model
        self._require_user = require_user

    @classmethod
    def from_settings(cls, settings: Settings | None = None, *, require_user: bool = False) -> Self:
        """Make a client of the configuration that is in force here.

        Without settings they are loaded: `SLUICE_CONFIG` or `./sluice.yaml` where there is one,
        `SLUICE_REDIS_URL`, `SLUICE_NAMESPACE` … Raises `SettingsError`.
        """
        settings = settings or load()
        return cls(
            settings.redis.address,
            namespace=settings.redis.namespace,
            default_model=settings.gateway.default_model,
            default_embedding_model=settings.gateway.default_embedding_model,
            require_user=require_user,
        )

    def __repr__(self) -> str:
        """Tell where it leads, without the password."""
        return f"Client({self._post.shown!r}, namespace={self._post.names.prefix!r})"

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def open(self) -> None:
        """Connect. Raises `RedisUnavailable` with the address when that fails."""
        await self._post.open()

    async def close(self) -> None:
        """Disconnect; who still waits is told so, and what was accepted goes on."""
        await self._post.close()

    async def submit(self, body: Body | None = None, /, **wishes: Unpack[Wishes]) -> str:
        """Put a request in and give its id; once this returns, it will be answered.

        The `body` is one of OpenAI's chat completions, or with `input` of its embeddings. An id
        given twice changes nothing the second time; with an `idempotency_key`, the id is that of
        the request that holds the key.
        """
        request = self._read(body, wishes)
        return (await self._post.accept(request)).id

    async def ask(
        self,
        body: Body | None = None,
        /,
        *,
        cancel_on_timeout: bool = False,
        **wishes: Unpack[Wishes],
    ) -> Answer:
        """Put a request in and wait for the whole answer, `timeout_s` at the most.

        After that `QueueTimeoutError` is raised, and the request goes on, unless it is to be
        cancelled: `result` with the error's `request_id` gives the answer later.
        """
        async with self._asked(body, wishes, "+", cancel_on_timeout) as hearing:
            return await answer(hearing, self._post.response)

    async def stream(
        self,
        body: Body | None = None,
        /,
        *,
        cancel_on_timeout: bool = False,
        **wishes: Unpack[Wishes],
    ) -> AsyncGenerator[Chunk, None]:
        """Put a request in and give the answer's chunks as they come.

        The whole may take `timeout_s`, as with `ask`. Who stops reading does not stop the
        request; `resume` reads on.
        """
        wishes["stream"] = True
        async with self._asked(body, wishes, "", cancel_on_timeout) as hearing:
            async for chunk in chunks(hearing, self._post.response):
                yield chunk

    async def result(self, request_id: str, timeout_s: float | None = None) -> Answer:
        """Wait for the whole answer of a request, whoever put it in, and as often as liked.

        A lost connection is waited out. Raises `QueueTimeoutError` after `timeout_s`, and
        `RequestUnknown` for what is past its retention.
        """
        async with self._overheard(request_id, "0-0", timeout_s) as hearing:
            return await answer(hearing, self._post.response)

    async def resume(
        self, request_id: str, after: str = "0-0", timeout_s: float | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Give a request's chunks from the first, or behind one's `entry`, and those to come."""
        if not _ENTRY.fullmatch(after):
            raise BadRequest(f"`{after[:60]}` is no entry of a chunk.", param="after")
        if int(after.partition("-")[0]) % TURN == CLOSING:
            return
        async with self._overheard(request_id, after, timeout_s) as hearing:
            async for chunk in chunks(hearing, self._post.response):
                yield chunk

    async def state(self, request_id: str) -> State:
        """Tell where a request is. Raises `RequestUnknown`, `RedisAway`."""
        record = await self._post.record(request_id)
        waits = record.get("status") == b"waiting"
        return state_of(request_id, record, await self._post.place(request_id) if waits else None)

    async def cancel(self, request_id: str, reason: str = "client") -> bool:
        """Cancel a request, wherever it is; tells whether it had not ended yet.

        It ends soon after this returns; a call under way is broken off. Raises `RequestUnknown`,
        `RedisAway`.
        """
        return await self._post.cancel(request_id, reason)

    def _read(self, body: Body | None, wishes: Wishes) -> Request:
        self._post.ready()
        request = request_of(body, wishes, *self._default_models)
        if self._require_user and not request.event.user:
            raise UserIdHeaderMissingError("This client wants a `user` with each request.")
        return request

    @contextlib.asynccontextmanager
    async def _asked(
        self, body: Body | None, wishes: Wishes, suffix: str, cancels: bool
    ) -> AsyncIterator[Hearing]:
        request = self._read(body, wishes)
        if not cancels:
            detached = msgspec.structs.replace(request.event, deadline=0.0)
            request = msgspec.structs.replace(request, event=detached)
        post, timeout_s = self._post, wishes.get("timeout_s")
        async with post.hear(request.event.id, timeout_s=timeout_s) as hearing:
            hearing.begin(post.enter(request, hearing, suffix))
            try:
                yield hearing
            except QueueTimeoutError:
                if cancels:
                    post.cancel_late(hearing.request_id)
                raise

    @contextlib.asynccontextmanager
    async def _overheard(
        self, request_id: str, after: str, timeout_s: float | None
    ) -> AsyncIterator[Hearing]:
        async with self._post.hear(request_id, after, timeout_s) as hearing:
            hearing.begin(self._post.attach(hearing))
            yield hearing
