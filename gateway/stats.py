"""`GET /stats`: how many requests are queued, wait, climb and run, and how the limits stand.

With tenants each sees its own limits and the numbers of the rooms of its models; without, this
machine sees everything, and others the numbers alone.
"""

import asyncio

import msgspec

from gateway.callers import is_here
from gateway.exchange import Exchange
from gateway.gateway import Gateway
from gateway.health import BACKLOG, MOST_COUNTED
from pipeline.current import Configuration
from pipeline.errors import RedisUnavailable
from pipeline.flow import CALL
from pipeline.limits.report import LimitsReport, RoomReport
from pipeline.limits.reporter import Reporter
from pipeline.limits.view import View
from pipeline.names import LANES
from pipeline.streams.link import Argument, LinkError
from pipeline.streams.rungs import Rung, Rungs


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is told."""

    #: Requests that are not routed yet, by lane; 10000 stands for more as well.
    queued: dict[str, int]
    waiting: int
    running: int
    #: The rungs on which requests wait to be retried, shortest first.
    ladder: list[Rung]
    dead_letters: int
    #: Refused transitions, claimed and lost entries, duplicates.
    counters: dict[str, int]
    limits: LimitsReport


class StatsRoute:
    """The route `/stats`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._view = View(gateway.link, gateway.names)
        gateway.current.follow(self._go_by)

    def _go_by(self, configuration: Configuration) -> None:
        gateway, catalog = self._gateway, configuration.catalog
        self._reporter = Reporter(configuration.settings, catalog)
        self._rungs = Rungs(gateway.link, gateway.names, catalog.rungs())

    async def stats(self, exchange: Exchange) -> None:
        """GET /stats. Raises `BadToken` and `RedisUnavailable`."""
        tenant = self._gateway.callers.tenant_of(exchange)
        try:
            async with asyncio.timeout(self._gateway.pace.health_s):
                told = await self.look(tenant, is_here=is_here(exchange))
        except (LinkError, TimeoutError):
            raise RedisUnavailable("Redis does not answer; try again.", retry_after_s=1) from None
        await exchange.answer(200, msgspec.json.encode(told))

    async def look(self, tenant: str = "", *, is_here: bool = True) -> Stats:
        """See everything that a tenant may, or this machine. Raises `RedisUnavailable`."""
        # All of them wait in one write of the link.
        lanes = [self._backlog(f"requests:{lane}", kept=True) for lane in LANES]
        ask, names = self._gateway.ask, self._gateway.names
        (_, running), waiting, ladder, dead, counters, limits, *queued = await asyncio.gather(
            self._backlog(CALL, kept=False),
            ask("HLEN", names.parked),
            self._rungs.stand(),
            ask("XLEN", names.dead),
            ask("HGETALL", names.counters),
            self._limits(tenant, is_here=is_here),
            *lanes,
        )
        return Stats(
            queued={lane: sum(counts) for lane, counts in zip(LANES, queued, strict=True)},
            waiting=waiting,
            running=running,
            ladder=ladder.rungs,
            dead_letters=dead,
            counters={
                name.decode(): int(count)
                for name, count in zip(counters[::2], counters[1::2], strict=True)
            },
            limits=limits,
        )

    async def _backlog(self, stream: str, *, kept: bool) -> tuple[int, int]:
        """Count what the group of a stream has not read, and what it has under way."""
        prefix = self._gateway.names.prefix
        arguments: list[Argument] = [prefix, stream, int(kept), MOST_COUNTED]
        length, groups = await self._gateway.run(BACKLOG, arguments)
        if not groups:
            return min(length, MOST_COUNTED), 0
        own = stream.partition(":")[0].replace("requests", "route").encode()
        pending, lag = next(((found[2], found[3]) for found in groups if found[0] == own), (0, 0))
        return int(lag), int(pending)

    async def _limits(self, tenant: str, *, is_here: bool) -> LimitsReport:
        asked = self._reporter.questions(tenant)
        if not (tenant or is_here):
            asked = asked[:1]
        sights = await asyncio.gather(*map(self._view.look, asked))
        report = self._reporter.report(sights, tenant)
        if not (tenant or is_here):
            return LimitsReport(rooms=[_bare(room) for room in report.rooms])
        may_use = self._gateway.callers.may_use
        rooms = [
            room for room in report.rooms if any(may_use(tenant, model) for model in room.models)
        ]
        return msgspec.structs.replace(report, rooms=rooms) if tenant else report


def _bare(room: RoomReport) -> RoomReport:
    return msgspec.structs.replace(room, deployments=[])
