"""What all routes of one gateway process share: its connections, its door, and who may enter."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Final, cast

import msgspec

from gateway.asking import Wishes
from gateway.callers import Callers, Operators
from gateway.exchange import Exchange, Headers
from gateway.hearing import PING_S, Hearing, Wait
from gateway.http_meter import HttpMeter
from gateway.records import Record, Task, not_found, task, tenant_of
from gateway.sse import PING
from gateway.traces import Traces
from gateway.waiting import Outlook, Sight, Spot, limited
from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.current import Configuration, Current, Read
from pipeline.errors import ModelNotFound, RedisUnavailable, SluiceError, StartError
from pipeline.event import Event
from pipeline.limits.view import View
from pipeline.names import Names
from pipeline.settings.load import Settings, load
from pipeline.streams.inbox import Inbox, Watch
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.reloads import Reloads
from pipeline.streams.replicas import replicas_of
from pipeline.streams.scripts import CANCEL, Script
from pipeline.telemetry.jaeger import trace_url

log = logging.getLogger(__name__)

#: How often this process's clock is set to Redis's.
_CLOCK_S: Final = 30.0


#: Writes a place in the waiting room for a client.
Shows = Callable[[Spot], bytes]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Lengths of time that only tests change, in seconds."""

    ping_s: float = PING_S
    #: How long open requests may go on after SIGTERM.
    grace_s: float = 10.0
    #: How often a reader that follows a session looks for its next request.
    follow_s: float = 1.0
    #: The most that cancelling waits for the request's end.
    cancel_s: float = 1.0
    #: The most that `/health/full` waits for Redis.
    health_s: float = 2.0
    #: The most that `/metrics` does.
    metrics_s: float = 1.0


class Gateway:
    """One gateway process: open it on its event loop, close it there."""

    def __init__(
        self,
        settings: Settings,
        pace: Pace | None = None,
        sight: Sight = View,
        read: Read = load,
    ) -> None:
        self.current = Current(settings, read)
        self.pace = pace or Pace()
        self.names = Names(settings.redis.namespace)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{clock.new_id()[-8:]}"
        url = settings.redis.address
        self.link = Link(url, name=f"sluice-gateway-{self.name}")
        self.inbox = Inbox(url, self.link, self.names, self.name)
        self._reloads = Reloads(self.link, self.names, self.name, self.current)
        self.inbox.on_news = self._reloads.take_over
        replicas = replicas_of(settings.durability, url, f"sluice-accept-{self.name}")
        self.ingress = Ingress(self.link, self.names, replicas)
        self.traces = Traces(settings.telemetry, self.names)
        self._outlook = Outlook(self.link, self.names, sight(self.link, self.names))
        self.hearings: set[Hearing] = set()
        #: None: no metrics are wanted.
        self.meter = HttpMeter() if settings.telemetry.metrics_port else None
        #: Whether everyone has been told that this gateway stops.
        self.stopping = False
        self._clock: asyncio.Task[None] | None = None
        self.current.follow(self._go_by)

    def _go_by(self, configuration: Configuration) -> None:
        settings = configuration.settings
        self.callers = Callers(settings.tenants)
        self.operators = Operators(settings)
        self._limited = limited(settings.tenants)

    @property
    def settings(self) -> Settings:
        """Give the settings in force."""
        return self.current.settings

    @property
    def catalog(self) -> Catalog:
        """Give the catalog in force."""
        return self.current.catalog

    async def open(self) -> None:
        """Connect. Raises `StartError` with one line when Redis cannot be reached."""
        try:
            await self.link.open()
            await self.ingress.open()
            await self.inbox.open()
            await self._reloads.begin()
            await self._follow_clock()
        except (LinkError, TimeoutError, OSError) as error:
            raise StartError(
                f"Redis at {self.settings.redis.url or self.settings.redis.address} "
                f"cannot be reached: {error}"
            ) from error
        self._clock = asyncio.create_task(self._keep_clock(), name="clock")
        self.traces.open(self.link, self.inbox)

    async def close(self) -> None:
        """Remove the inbox and disconnect."""
        if self._clock:
            self._clock.cancel()
        await self._reloads.close()
        await self.traces.close()
        await self.inbox.close()
        await self.ingress.close()
        await self.link.close()

    def end_all(self) -> None:
        """Tell everyone who waits that this gateway stops."""
        self.stopping = True
        for hearing in tuple(self.hearings):
            hearing.end("stopping")

    async def ask(self, *command: Argument) -> Reply:
        """Ask Redis something. Raises `RedisUnavailable`."""
        try:
            return await self.link.call(*command)
        except LinkError:
            raise _away() from None

    async def run(self, script: Script, args: list[Argument]) -> Reply:
        """Run a script of which the first argument is the prefix. Raises `RedisUnavailable`."""
        try:
            return await self.link.run(script, [self.names.prefix], args)
        except LinkError:
            raise _away() from None

    async def resume(self, watch: Watch) -> dict[str, bytes] | None:
        """Attach a watch to its request; gives the record. Raises `RedisUnavailable`."""
        try:
            return await watch.resume()
        except LinkError:
            raise _away() from None

    async def record(self, request_id: str, tenant: str) -> dict[str, bytes]:
        """Read a request's record for a tenant. Raises `RequestNotFound`."""
        flat = await self.ask("HGETALL", self.names.record(request_id))
        record = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
        if not record or not self.callers.may_see(tenant, tenant_of(record)):
            raise not_found(request_id)
        return record

    async def is_visible(self, request_id: str, tenant: str) -> bool:
        """Tell whether a request is there, and a tenant may see it."""
        record = self.names.record(request_id)
        entry, owner = await self.ask("HMGET", record, "status", "tenant")
        return entry is not None and self.callers.may_see(tenant, (owner or b"").decode())

    async def state(self, request_id: str, record: Record) -> Task:
        """Tell a request's state from its record. Raises `RedisUnavailable`."""
        if record.get("status") == b"waiting":
            shown = task(request_id, record, spot=await self._outlook.spot(request_id))
        else:
            shown = task(request_id, record, deltas=await self._deltas(request_id, record))
        page = trace_url(self.settings.telemetry, shown.trace_id or "")
        return msgspec.structs.replace(shown, trace_url=page)

    async def quota_headers(self, event: Event) -> Headers:
        """Tell the state of our limits on an event's client; nothing where it has none."""
        return await self._outlook.headers(event) if event.tenant in self._limited else ()

    async def _deltas(self, request_id: str, record: Record) -> bytes:
        """Read the chunks of an answer of which the whole was not kept, one a line."""
        if record.get("status") != b"completed" or "response" in record:
            return b""
        entries = await self.ask("XRANGE", self.names.reply(request_id), "-", "+")
        entries = entries[:-1]
        last: bytes = entries[-1][0].partition(b"-")[0] if entries else b""
        counted = [fields[1] for entry, fields in entries if entry.partition(b"-")[0] == last]
        return b"\n".join(counted)

    def check_model(self, tenant: str, model: str) -> None:
        """Refuse a model that is not there, or not for this tenant. Raises `ModelNotFound`."""
        if model not in self.catalog:
            self.catalog.candidates(model)
        if not self.callers.may_use(tenant, model):
            raise ModelNotFound(f"The model `{model}` does not exist here.", param="model")

    def timeout_s(self, wished: Wishes) -> float:
        """Give the client's timeout: its own wish can only shorten ours."""
        return min(self.settings.gateway.request_timeout_s, wished.timeout_s or float("inf"))

    def hear(self, exchange: Exchange, event: Event, shows: Shows | None = None) -> Hearing:
        """Begin to wait for a request's reply; do it before the request is accepted.

        In silences the client is shown a place in the waiting room, or at least a ping.
        """
        if event.tenant in self._limited:
            exchange.promise = partial(self.quota_headers, event)
        wait = Wait(
            timeout_s=event.deadline - event.created if event.deadline else 0.0,
            ping_s=self.pace.ping_s if shows else 0.0,
            sign=partial(self._sign, shows) if shows else None,
            on_gone=self._cancel_left if self.settings.gateway.on_disconnect == "cancel" else None,
        )
        return Hearing(self.hearings, exchange, self.inbox.watch(event.id), wait)

    def overhear(self, exchange: Exchange, watch: Watch, shows: Shows) -> Hearing:
        """Begin to wait for the reply of a request that does not depend on this client."""
        sign = partial(self._sign, shows)
        return Hearing(self.hearings, exchange, watch, Wait(ping_s=self.pace.ping_s, sign=sign))

    async def _sign(self, shows: Shows, request_id: str) -> bytes:
        spot = await self._outlook.spot(request_id)
        return shows(spot) if spot else PING

    async def cancel(self, request_id: str, reason: str) -> bool:
        """Cancel a request wherever it is; tells whether it had not ended before.

        Raises `RequestNotFound` and `RedisUnavailable`.
        """
        found = await self.run(CANCEL, [self.names.prefix, request_id, reason])
        if found < 0:
            raise not_found(request_id)
        return bool(found)

    async def _cancel_left(self, request_id: str) -> None:
        # What cannot be marked is drained, as it would be by default.
        with contextlib.suppress(SluiceError):
            await self.cancel(request_id, "client_gone")

    async def _follow_clock(self) -> bytes | None:
        """Follow Redis's clock; gives the configuration that was published last."""
        # Both before the first await, so that they share a round trip.
        names, asked_s = self.names, clock.asking()
        time, others = self.link.call("TIME"), self.link.call("MGET", names.clock, names.config)
        seconds, microseconds = await time
        offset, published = await others
        clock.follow(int(seconds) + int(microseconds) / 1e6 + float(offset or 0), asked_s)
        return cast("bytes | None", published)

    async def _keep_clock(self) -> None:
        while True:
            await asyncio.sleep(_CLOCK_S)
            with contextlib.suppress(LinkError):
                await self._reloads.notice(await self._follow_clock())


def _away() -> RedisUnavailable:
    return RedisUnavailable("Redis does not answer; try again.", retry_after_s=1)
