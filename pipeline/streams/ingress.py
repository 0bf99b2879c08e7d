"""Accepting requests: each in one atomic step, many in one round trip, once for each id."""

import asyncio
import contextlib
from functools import partial
from typing import Final, NamedTuple

import msgspec
import redis.exceptions

from pipeline import event as events
from pipeline.errors import NotReplicated, RedisUnavailable, SluiceError
from pipeline.event import Event
from pipeline.names import LANES, Names
from pipeline.streams.batch import split
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.once import Accepted, Once, once_argument, read_reply
from pipeline.streams.patience import patiently
from pipeline.streams.replicas import Replicas
from pipeline.streams.scripts import ACCEPT, CANCEL

#: Requests accepted in one call of the script at the most: a bound on its time in Redis.
MAX_BATCH: Final = 128


class _Asked(NamedTuple):
    """A request that is to be accepted."""

    id: str
    arguments: list[Argument]
    future: asyncio.Future[Accepted]


class Ingress:
    """The door of the flow; all requests of a process go through one of these."""

    def __init__(self, link: Link, names: Names, replicas: Replicas | None = None) -> None:
        self._link = replicas.link if replicas else link
        self._names = names
        self._replicas = replicas
        self._waiting: list[_Asked] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect what is not the process's own link. Raises `LinkError`."""
        if self._replicas:
            await self._replicas.link.open()

    async def close(self) -> None:
        """Disconnect it."""
        if self._replicas:
            await self._replicas.link.close()

    async def accept(
        self, event: Event, body: bytes, *, inbox: str = "", once: Once | None = None
    ) -> Accepted:
        """Accept a request; once this returns, it will be answered.

        `body` is the client's JSON body. `inbox` names the inbox that hears of the reply from
        its first delta on; with a `+` behind it, of the whole response, too. Accepting the same
        id again changes nothing and gives the same entry. With `once`, another request may
        answer in its place: then nothing was accepted, and no inbox hears of that one.

        Raises `QueueFull` when Redis's memory is full, `RedisUnavailable` when it does not answer,
        `NotReplicated` when too few replicas do, and `InProgress` and `Conflict` as `once` says.
        """
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(event.id, _arguments(event, body, inbox, once), future))
        if self._task is None:
            self._task = asyncio.create_task(self._send(), name="accept")
        return await future

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = split(self._waiting, MAX_BATCH, _size)
                await self._accept(batch)
        finally:
            self._task = None

    async def _accept(self, batch: list[_Asked]) -> None:
        args: list[Argument] = [self._names.prefix]
        for asked in batch:
            args.extend(asked.arguments)
        unconfirmed: NotReplicated | None = None
        try:
            # Asking twice is safe: what was accepted before a reply was lost is found done.
            replies, unconfirmed = await patiently(self._link, partial(self._run, args))
        except RedisUnavailable as error:
            for asked in batch:
                _settle(asked, error)
            return
        except redis.exceptions.ResponseError as error:
            replies = [str(error).encode()] * len(batch)
        for asked, reply in zip(batch, replies, strict=True):
            result = read_reply(asked.id, reply.decode())
            if unconfirmed and isinstance(result, Accepted) and result.entry:
                result = await self._revoke(result, unconfirmed)
            _settle(asked, result)

    async def _run(self, args: list[Argument]) -> tuple[list[bytes], NotReplicated | None]:
        keys = [self._names.requests[LANES[1]]]
        replies: list[bytes] = await self._link.run(ACCEPT, keys, args)
        return replies, await self._replicas.confirm() if self._replicas else None

    async def _revoke(self, accepted: Accepted, error: NotReplicated) -> Accepted | SluiceError:
        """Cancel a request that may be lost, so that its client's retry is not the second one."""
        arguments: list[Argument] = [self._names.prefix, accepted.id, "not_replicated"]
        cancelled: Reply = 1
        with contextlib.suppress(LinkError):
            cancelled = await self._link.run(CANCEL, [self._names.record(accepted.id)], arguments)
        # One that has ended meanwhile has its answer: nothing of it can be lost any more.
        return accepted if cancelled == 0 else error


def _size(asked: _Asked) -> int:
    body = asked.arguments[3]
    return len(body) if isinstance(body, bytes) else 0


def _settle(asked: _Asked, result: Accepted | SluiceError) -> None:
    if asked.future.done():
        return
    if isinstance(result, Accepted):
        asked.future.set_result(result)
    else:
        asked.future.set_exception(result)


def _arguments(event: Event, body: bytes, inbox: str, once: Once | None) -> list[Argument]:
    travels = len(body) <= events.INLINE_BYTES
    carried = msgspec.structs.replace(
        event,
        body=msgspec.Raw(body) if travels else events.NO_BODY,
        body_bytes=len(body),
    )
    fields = record_fields(event)
    if once and not once.dedupe_s:
        fields += ["idempotency", once.key]
    return [
        event.lane,
        event.id,
        events.encode(carried),
        b"" if travels else body,
        inbox,
        event.session,
        once_argument(once, event),
        len(fields) // 2,
        *fields,
    ]


def record_fields(event: Event) -> list[Argument]:
    """Give the pairs with which a request's record begins."""
    fields: list[Argument] = [
        "status", event.status,
        "model", event.model,
        "operation", event.operation,
        "created", f"{event.created:.6f}",
        "priority", event.priority,
    ]  # fmt: skip
    optional = {"session": event.session, "tenant": event.tenant, "user": event.user}
    for name, value in optional.items():
        if value:
            fields += [name, value]
    if event.deadline:
        fields += ["deadline", f"{event.deadline:.6f}"]
    if event.trace:
        fields += ["trace_id", event.trace.id]
    return fields
