"""One worker process: everything its hops need, built, started and stopped in order."""

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from importlib import metadata
from typing import Any, Final

import redis.exceptions

from pipeline import clock, prices
from pipeline.about import noted
from pipeline.current import Configuration, Current, Read
from pipeline.errors import StartError
from pipeline.flow import CALL, GATE, RESPOND, ROUTE
from pipeline.limits.admission import RENEW_S, Admission
from pipeline.limits.strays import Strays
from pipeline.names import Names
from pipeline.outcome import Outcome
from pipeline.settings.load import Settings, load
from pipeline.streams.callbacks import Callbacks
from pipeline.streams.cancels import Cancels
from pipeline.streams.carriage import Kept
from pipeline.streams.engine import Engine, EngineOptions, Hop
from pipeline.streams.keeper import Claimed, Keeper, Limits
from pipeline.streams.link import Link, LinkError
from pipeline.streams.liveness import Facts, Liveness, consumer_name
from pipeline.streams.reloads import Reloads
from pipeline.streams.replies import Replies
from pipeline.telemetry.ends import note_end
from pipeline.telemetry.tracer import sampler_of
from workers.call import Means
from workers.looks import Looks
from workers.metering import Metering
from workers.polite import Means as Polite
from workers.polite import politely
from workers.providers.upstream import Upstream
from workers.traces import Traces

log = logging.getLogger(__name__)

#: The async functions of the hops, by name.
HopFunctions = Mapping[str, Callable[..., Coroutine[Any, Any, Outcome]]]


#: The oldest Redis that has what the scripts use (XADD NOMKSTREAM and MINID, SET GET).
OLDEST_REDIS: Final = (6, 2)

#: Every so many scans, events whose wake-up was lost are looked for.
MEND_EVERY: Final = 5

#: Seconds that starting may take before it counts as failed.
START_S: Final = 30.0


class WorkerProcess:
    """The hops of one process from start to drain; lives on one event loop.

    On `scraped`, a listening socket, it tells its metrics; without one nothing is counted for them.
    """

    def __init__(
        self,
        settings: Settings,
        functions: HopFunctions,
        read: Read = load,
        scraped: socket.socket | None = None,
    ) -> None:
        self._settings = settings
        self._current = Current(settings, read)
        self._functions = functions
        self._names = Names(settings.redis.namespace)
        self._consumer = consumer_name()
        self._url = settings.redis.address
        self._link = Link(self._url, name=f"sluice-worker-{self._consumer}", on_connect=self._adopt)
        self._reloads = Reloads(self._link, self._names, self._consumer, self._current)
        self._admission = Admission(self._link, self._names, settings, self._current.catalog)
        self._strays = Strays(self._link, self._names, self._admission.leave)
        self._upstream = Upstream()
        self._looks = Looks(self._link, self._names, self._admission, self._upstream)
        self._cancels = Cancels(self._link, self._names)
        self._replies = Replies(self._link, self._names)
        self._callbacks = Callbacks(
            self._link, self._names, settings.retention.reply_to_max_entries
        )
        self._engine = self._make_engine()
        self._traces = Traces(settings.telemetry, self._names, self._link)
        self._metering = self._make_metering(scraped) if scraped else None
        workers = settings.workers
        self._keeper = Keeper(self._engine, _limits(settings), workers.scan_s, self._look)
        self._liveness: Liveness | None = None
        self._current.follow(self._go_by)
        self._moving: asyncio.Task[None] | None = None
        self._started = clock.now()
        self._renewed = clock.monotonic()
        self._scans = 0

    async def start(self) -> None:
        """Connect and begin to take events. Raises `StartError`."""
        try:
            await self._link.open()
        except (LinkError, TimeoutError, OSError) as error:
            raise StartError(f"Redis cannot be reached: {error}. Is redis.url right?") from None
        await self._check_redis()
        self._liveness = Liveness(
            self._url,
            self._names,
            self._consumer,
            self._settings.workers.liveness_s,
            self._facts,
            self._on_gap,
        )
        self._liveness.start()
        await self._admission.publish()
        await self._reloads.publish()
        self._traces.open(self._engine, self._current.catalog)
        await self._engine.start()
        self._keeper.start()
        log.info("Worker started", extra=noted(worker=self._consumer))

    async def stop_reading(self) -> None:
        """Take nothing new."""
        await self._keeper.stop()
        await self._looks.close()
        await self._reloads.close()
        if self._moving:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
        await self._engine.stop_reading()

    async def drain(self) -> None:
        """Finish what is under way, at most `grace_s`; what is left others will claim at once."""
        left = await self._engine.drain(self._settings.workers.grace_s)
        if left:
            told = noted(entries=left, grace_s=self._settings.workers.grace_s)
            log.warning("Left entries to other workers", extra=told)
        await self._admission.settled()
        await self._traces.close()
        if self._liveness:
            await asyncio.to_thread(self._liveness.stop)
        await self._upstream.close()
        await self._link.close()
        if self._metering:
            await asyncio.to_thread(self._metering.close)
        log.info("Worker stopped", extra=noted(worker=self._consumer))

    def _make_metering(self, scraped: socket.socket) -> Metering:
        return Metering(
            scraped, self._current, self._engine, self._link, self._replies, self._traces
        )

    def _make_engine(self) -> Engine:
        workers, configuration = self._settings.workers, self._current.now
        options = EngineOptions(
            url=self._url,
            consumer=self._consumer,
            kept=_kept(self._settings),
            calls=workers.calls,
            max_deliveries=workers.max_deliveries,
            default_model=self._settings.gateway.default_model,
            sampler=sampler_of(self._settings.telemetry),
        )
        hops = self._bound(configuration)
        engine = Engine(options, self._names, self._link, hops, self._callbacks.deliver)
        engine.on_given_up = self._admission.leave
        engine.on_refused(self._strays.note)
        engine.observe(note_end)
        return engine

    def _bound(self, configuration: Configuration) -> dict[str, Hop]:
        """Give the hops by a configuration: what has begun by another one ends by that."""
        functions, catalog = self._functions, configuration.catalog
        prices.prepare(catalog)
        means = Means(
            catalog=catalog,
            admission=self._admission,
            upstream=self._upstream,
            replies=self._replies,
            body_of=self._body_of,
            cancels=self._cancels,
            retry=configuration.settings.retry,
            config=configuration.version,
            tells_providers=configuration.settings.telemetry.to_providers,
        )
        polite = Polite(
            catalog=catalog, replies=self._replies, link=self._link, counters=self._names.counters
        )
        hops = {
            ROUTE: functools.partial(functions[ROUTE], catalog=catalog),
            GATE: functools.partial(functions[GATE], admission=self._admission, catalog=catalog),
            CALL: functools.partial(functions[CALL], means=means),
        }
        return {
            **{name: politely(hop, polite) for name, hop in hops.items()},
            RESPOND: functions[RESPOND],
        }

    def _go_by(self, configuration: Configuration) -> None:
        settings = configuration.settings
        self._admission.replace(settings, configuration.catalog)
        self._looks.go_by(settings, configuration.catalog)
        self._callbacks.max_entries = settings.retention.reply_to_max_entries
        self._keeper.limits = _limits(settings)
        self._traces.go_by(configuration.catalog)
        self._engine.go_by(
            self._bound(configuration), _kept(settings), settings.gateway.default_model
        )
        if self._liveness:
            self._moving = asyncio.create_task(self._move(), name="move who waits")

    async def _move(self) -> None:
        if moved := await self._admission.move():
            log.info("Woke who waited by the configuration before", extra=noted(events=moved))

    async def _body_of(self, request_id: str) -> bytes | None:
        while True:
            try:
                body: bytes | None = await self._link.call("GET", self._names.body(request_id))
            except LinkError:
                await self._link.up()
            else:
                return body

    async def _look(self, found: Claimed) -> None:
        """What the keeper does beside its own duties: reloads, cancelled calls, leases, waiting."""
        await self._reloads.notice(found.config)
        await self._cancels.notice(found.cancelled)
        await self._strays.look()
        # A little less than a scan: else every other one of a single worker would be left out.
        await self._admission.sweep(self._settings.workers.scan_s * 0.9)
        await self._looks.look()
        self._scans += 1
        if self._scans % MEND_EVERY == 0:
            await self._mend()
        if clock.monotonic() - self._renewed > RENEW_S:
            self._renewed = clock.monotonic()
            await self._admission.renew(self._engine.holdings.running(CALL))

    async def _mend(self) -> None:
        """Find who waits or climbs without being noted; one question while nobody does."""
        names, rungs = self._names, self._current.catalog.rungs()
        streams = [names.rung(rung) for rung in rungs]
        if await self._link.call("EXISTS", names.parked, names.woken, *streams):
            await self._admission.mend()
            await self._engine.mover.move(rungs)

    def _facts(self) -> Facts:
        return Facts(
            pid=os.getpid(),
            host=socket.gethostname(),
            started=self._started,
            # A copy, made in one step: this runs in a thread beside the loop that counts.
            running={hop: n for hop, n in dict(self._engine.holdings.held).items() if n},
            version=metadata.version("sluice"),
        )

    async def _adopt(self) -> None:
        """After a connection was made: the one before may have taken replies with it."""
        await self._engine.adopt()

    def _on_gap(self) -> None:
        """Others may have taken over what is ours: see what is left of it."""
        log.warning("The signs of life had lapsed; others may have claimed entries")
        self._adopting = asyncio.create_task(self._engine.adopt(), name="adopt")

    async def _check_redis(self) -> None:
        """Refuse a Redis that is too old, and warn of one that may forget what was accepted."""
        info = (await self._link.call("INFO", "server")).decode()
        version = next(
            line.partition(":")[2] for line in info.splitlines() if line.startswith("redis_version")
        )
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
            raise StartError(f"Redis {version} is too old; Sluice needs 6.2 or later")
        # Hosted servers may forbid CONFIG; then their policy is their owner's business.
        with contextlib.suppress(redis.exceptions.ResponseError):
            policy = await self._link.call("CONFIG", "GET", "maxmemory-policy")
            if policy and policy[1] != b"noeviction":
                told = noted(maxmemory_policy=policy[1].decode())
                log.warning("Redis was found to evict what is accepted: set noeviction", extra=told)


def _kept(settings: Settings) -> Kept:
    retention = settings.retention
    return Kept(
        replies_s=int(retention.replies_s),
        repeats_s=int(settings.idempotency.kept_s),
        events_s=int(retention.events_s),
        dead_s=int(retention.dead_s),
    )


def _limits(settings: Settings) -> Limits:
    retention = settings.retention
    return Limits(
        events_s=int(retention.events_s),
        dead_s=int(retention.dead_s),
        max_entries=retention.max_entries,
    )
