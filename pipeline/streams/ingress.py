"""Accepting requests: each in one atomic step, many in one round trip, once for each id."""

import asyncio
from typing import Final

import msgspec
import redis.exceptions

from pipeline import event as events
from pipeline.errors import QueueFull, RedisUnavailable
from pipeline.event import Event
from pipeline.names import LANES, Names
from pipeline.streams.batch import split
from pipeline.streams.link import Argument, Link, LinkError
from pipeline.streams.scripts import ACCEPT

#: How long accepting waits for a lost connection to come back before it refuses, in seconds.
PATIENCE_S: Final = 2.0

#: Requests accepted in one call of the script at the most: a bound on its time in Redis.
MAX_BATCH: Final = 128


#: A request's arguments for the script, and the future of its entry.
_Asked = tuple[list[Argument], asyncio.Future[str]]


class Ingress:
    """The door of the flow; all requests of a process go through one of these."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._waiting: list[_Asked] = []
        self._task: asyncio.Task[None] | None = None

    async def accept(self, event: Event, body: bytes, *, inbox: str = "") -> str:
        """Accept a request; once this returns, it will be answered.

        `body` is the client's JSON body. `inbox` names the inbox that hears of the reply from
        its first delta on; with a `+` behind it, of the whole response, too. Accepting the same
        id again changes nothing and returns the same entry, as `lane:entry id`.

        Raises `QueueFull` when Redis's memory is full, `RedisUnavailable` when it does not answer.
        """
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((_arguments(event, body, inbox), future))
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
        for arguments, _ in batch:
            args.extend(arguments)
        try:
            replies = await self._ask(args)
        except (LinkError, TimeoutError):
            for _, future in batch:
                if not future.done():
                    future.set_exception(RedisUnavailable("Redis does not answer; try again"))
            return
        except redis.exceptions.ResponseError as error:
            replies = [str(error).encode()] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if not future.done():
                _settle(future, reply.decode())

    async def _ask(self, args: list[Argument]) -> list[bytes]:
        keys = [self._names.requests[LANES[1]]]
        try:
            replies: list[bytes] = await self._link.run(ACCEPT, keys, args)
        except LinkError:
            # Asking again is safe: what was accepted before the reply was lost is found done.
            await asyncio.wait_for(self._link.up(), PATIENCE_S)
            replies = await self._link.run(ACCEPT, keys, args)
        return replies


def _size(asked: _Asked) -> int:
    body = asked[0][3]
    return len(body) if isinstance(body, bytes) else 0


def _settle(future: asyncio.Future[str], entry: str) -> None:
    if entry.startswith(LANES):
        future.set_result(entry)
    elif "OOM" in entry or "maxmemory" in entry:
        future.set_exception(
            QueueFull(
                "Redis is at its memory limit; nothing was accepted. Try again later",
                retry_after_s=5,
            )
        )
    else:
        future.set_exception(RedisUnavailable(f"Redis refused the request: {entry}"))


def _arguments(event: Event, body: bytes, inbox: str) -> list[Argument]:
    travels = len(body) <= events.INLINE_BYTES
    carried = msgspec.structs.replace(
        event,
        body=msgspec.Raw(body) if travels else events.NO_BODY,
        body_bytes=len(body),
    )
    fields = record_fields(event)
    return [
        event.lane,
        event.id,
        events.encode(carried),
        b"" if travels else body,
        inbox,
        event.session,
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
    return fields
