"""What all requests of one Python client share: its two connections, its inbox, its door.

It tells `LinkError` apart from what it means: a question is asked again for a moment, a wait as
long as it lasts, and accepting is safe to repeat.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Final

import redis.exceptions

from pipeline import clock
from pipeline import event as events
from pipeline.about import noted, said
from pipeline.client_errors import ClientClosed, failed, unknown
from pipeline.client_reply import Hearing
from pipeline.client_request import Request
from pipeline.errors import RedisUnavailable, SluiceError
from pipeline.limits.view import Place, View
from pipeline.names import Names
from pipeline.settings.load import RedisUrl
from pipeline.streams.inbox import Inbox
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.once import Accepted
from pipeline.streams.scripts import CANCEL

log = logging.getLogger(__name__)

#: Asks Redis something that may be asked again.
Question = Callable[[], Awaitable[Reply]]

#: How often the clock is set to Redis's, at the most, in seconds.
_CLOCK_S: Final = 30.0

#: How long a question waits for a lost connection to come back, in seconds.
_PATIENCE_S: Final = 2.0

#: Pause before what Redis refused is asked again, in seconds.
_REFUSED_S: Final = 1.0


class Post:
    """The way to Redis and back; open it once, and close it."""

    def __init__(self, url: str, namespace: str) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{clock.new_id()[-8:]}"
        #: Redis's address without its password.
        self.shown = str(RedisUrl(url))
        self.names = Names(namespace)
        self._link = Link(url, name=f"sluice-client-{self.name}")
        self._inbox = Inbox(url, self._link, self.names, self.name, is_gateway=False)
        self._ingress = Ingress(self._link, self.names)
        self._view = View(self._link, self.names)
        self._hall: set[Hearing] = set()
        self._aside: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._clock_due = 0.0

    async def open(self) -> None:
        """Connect. Raises `RedisUnavailable` with the address when that fails."""
        try:
            await self._link.open()
            await self._inbox.open()
            await self._follow_clock()
        except (redis.exceptions.RedisError, TimeoutError, OSError) as error:
            await self._disconnect()
            raise RedisUnavailable(f"Redis at {self.shown} cannot be reached: {error}") from None
        self._is_open = True

    async def close(self) -> None:
        """Disconnect; who still waits is told so, and what was accepted goes on."""
        if not self._is_open:
            return
        if self._aside:
            await asyncio.wait(self._aside, timeout=_PATIENCE_S)
        self._is_open = False
        for hearing in tuple(self._hall):
            hearing.end(_closed())
        for task in tuple(self._aside):
            task.cancel()
        await self._disconnect()

    async def _disconnect(self) -> None:
        await self._inbox.close()
        await self._link.close()

    def ready(self) -> None:
        """Make sure that the client is open, and that its clock is Redis's now and then.

        Raises `ClientClosed`.
        """
        self.check_open()
        if clock.monotonic() >= self._clock_due:
            self._clock_due = clock.monotonic() + _CLOCK_S
            self._spawn(self._follow_clock())

    def check_open(self) -> None:
        """Raise `ClientClosed` unless the client is open."""
        if not self._is_open:
            raise _closed()

    async def _follow_clock(self) -> None:
        self._clock_due = clock.monotonic() + _CLOCK_S
        asked_s = clock.asking()
        time, offset = await asyncio.gather(
            self._link.call("TIME"), self._link.call("GET", self.names.clock)
        )
        clock.follow(int(time[0]) + int(time[1]) / 1e6 + float(offset or 0), asked_s)

    async def accept(self, request: Request, inbox: str = "") -> Accepted:
        """Have a request accepted. Raises `RequestFailed` with its id, and `ClientClosed`."""
        event = request.event
        try:
            return await self._ingress.accept(event, request.body, inbox=inbox, once=request.once)
        except SluiceError as error:
            self.check_open()
            raise failed(error.failure(), event.id) from None

    @contextlib.asynccontextmanager
    async def hear(
        self, request_id: str, after: str = "0-0", timeout_s: float | None = None
    ) -> AsyncIterator[Hearing]:
        """Wait for a reply from a place on; what makes its frames come is still to be done."""
        self.check_open()
        hearing = Hearing(self._hall, self._inbox.watch(request_id, after), timeout_s)
        try:
            yield hearing
        finally:
            hearing.close()

    async def enter(self, request: Request, hearing: Hearing, suffix: str) -> None:
        """Have a request accepted whose reply is waited for, or find whose reply that is.

        The suffix `+` asks for the whole response with the closing.
        """
        accepted = await self.accept(request, self.name + suffix)
        if accepted.id != request.event.id:
            hearing.follow(self._inbox.watch(accepted.id))
        elif not request.is_named:
            return
        await self.attach(hearing)

    async def attach(self, hearing: Hearing) -> None:
        """Register with a request and read what is there, however long Redis is away."""
        await self._persist(hearing.watch.resume)

    async def response(self, request_id: str) -> bytes:
        """Fetch the response of a request that has ended, however long Redis is away."""
        record = self.names.record(request_id)
        found = await self._persist(lambda: self._link.call("HGET", record, "response"))
        if found is None:
            raise unknown(request_id)
        return bytes(found)

    async def record(self, request_id: str) -> dict[str, bytes]:
        """Read a request's record. Raises `RequestUnknown`, `RedisAway`."""
        flat = await self._ask(lambda: self._link.call("HGETALL", self.names.record(request_id)))
        if not flat:
            raise unknown(request_id)
        return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}

    async def place(self, request_id: str) -> Place | None:
        """Tell a request's place in the waiting room, where it has one."""
        parked = await self._ask(lambda: self._link.call("HGET", self.names.parked, request_id))
        if not parked:
            return None
        event = events.decode(parked)
        place: Place | None = await self._ask(lambda: self._view.place_of(event))
        return place

    async def cancel(self, request_id: str, reason: str) -> bool:
        """Cancel a request; tells whether it had not ended. Raises `RequestUnknown`."""
        keys = [self.names.record(request_id)]
        args: list[Argument] = [self.names.prefix, request_id, reason]
        done: int = await self._ask(lambda: self._link.run(CANCEL, keys, args))
        if done < 0:
            raise unknown(request_id)
        return done == 1

    def cancel_late(self, request_id: str) -> None:
        """Cancel a request that nobody waits for any more, without anybody's waiting for that."""
        self._spawn(self.cancel(request_id, "timeout"))

    def _spawn(self, aside: Coroutine[None, None, object]) -> None:
        """Do something that nobody waits for, and without which all goes on."""
        task = asyncio.create_task(_tried(aside), name="aside")
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _ask(self, question: Question) -> Reply:
        """Ask what may be asked twice, once more if the connection is lost meanwhile."""
        self.check_open()
        try:
            try:
                return await question()
            except LinkError:
                await asyncio.wait_for(self._link.up(), _PATIENCE_S)
                return await question()
        except (LinkError, TimeoutError):
            self.check_open()
            away = RedisUnavailable("Redis does not answer; try again.", retry_after_s=1)
            raise failed(away.failure(), "") from None

    async def _persist(self, question: Question) -> Reply:
        """Ask until there is an answer; who waits for it ends the asking."""
        while True:
            try:
                return await question()
            except LinkError:
                await self._link.up()
            except redis.exceptions.ResponseError as error:
                log.warning("Redis refused a question", extra=noted(reason=said(error)))
                await asyncio.sleep(_REFUSED_S)


async def _tried(aside: Coroutine[None, None, object]) -> None:
    with contextlib.suppress(SluiceError, redis.exceptions.RedisError):
        await aside


def _closed() -> ClientClosed:
    return ClientClosed("The client is not open; requests that were accepted go on.")
