"""The state in Redis as metrics: what `/stats` and `/health/full` tell, seen at each scrape."""

import asyncio
from collections.abc import Iterator
from typing import Final, get_args

from gateway.gateway import Gateway
from gateway.health import Health, HealthRoutes
from gateway.stats import Stats, StatsRoute
from pipeline import clock
from pipeline.errors import RedisUnavailable
from pipeline.limits.report import DeploymentReport, LimitsReport, State
from pipeline.names import LANES
from pipeline.streams.link import LinkError
from pipeline.streams.rungs import Rung
from pipeline.telemetry import metrics
from pipeline.telemetry.tallies import Family, Tally, single

#: Our counters in Redis, by their names there.
_COUNTERS: Final = {
    "refused": metrics.EVENTS_REFUSED,
    "claimed": metrics.EVENTS_CLAIMED,
    "lost": metrics.EVENTS_LOST,
    "duplicates": metrics.EVENTS_DUPLICATE,
}

#: Requests that wait for a limit of their tenant's, in whichever lane.
_HELD: Final = "held"


class RedisState:
    """Looks at Redis for whoever scrapes; nobody else causes it a command."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._health = HealthRoutes(gateway)
        self._stats = StatsRoute(gateway)

    async def families(self) -> list[Family]:
        """See how everything stands, in `metrics_s` at the most; Redis may be away."""
        try:
            async with asyncio.timeout(self._gateway.pace.metrics_s):
                health, stats = await asyncio.gather(self._health.look(), self._stats.look())
                oldest = await self._oldest(health)
        except (RedisUnavailable, LinkError, TimeoutError):
            return [single(metrics.REDIS_UP, 0)]
        return [
            single(metrics.REDIS_UP, 1),
            *_of_health(health),
            *_of_groups(health, oldest),
            *_of_stats(stats),
            _rungs(stats.ladder, self._gateway.catalog.rungs()),
            *_of_waiting(stats.limits),
            *_of_deployments(stats.limits.deployments),
            _keys(stats.limits),
        ]

    async def _oldest(self, health: Health) -> dict[tuple[str, str], float]:
        """Tell how old what the groups have under way is, by streams and groups."""
        pairs = [
            (stream.name, group.name)
            for stream in health.streams
            for group in stream.groups
            if group.pending
        ]
        names, now = self._gateway.names, clock.now()
        asked = (self._gateway.ask("XPENDING", names.hop(stream), group) for stream, group in pairs)
        found = await asyncio.gather(*asked)
        return {
            pair: max(0.0, now - int(first.partition(b"-")[0]) / 1000)
            for pair, (_, first, *_rest) in zip(pairs, found, strict=True)
            if first
        }


def _of_health(health: Health) -> Iterator[Family]:
    yield single(metrics.REDIS_MEMORY, health.redis.used_memory_bytes)
    yield single(metrics.REDIS_MEMORY_LIMIT, health.redis.maxmemory_bytes)
    yield single(metrics.WORKERS, len(health.workers))
    yield single(metrics.GATEWAYS, len(health.gateways))
    lengths = Tally(metrics.STREAM_LENGTH)
    for stream in health.streams:
        lengths.values[stream.name,] = stream.length
    yield lengths.family()


def _of_groups(health: Health, oldest: dict[tuple[str, str], float]) -> Iterator[Family]:
    lag, pending = Tally(metrics.GROUP_LAG), Tally(metrics.GROUP_PENDING)
    age, held_back = Tally(metrics.GROUP_OLDEST), Tally(metrics.GROUP_HELD_BACK)
    for stream in health.streams:
        for group in stream.groups:
            at = stream.name, group.name
            lag.values[at] = _number(group.lag)
            pending.values[at] = group.pending
            age.values[at] = oldest.get(at, 0.0)
            held_back.values[at] = float(stream.held_by == group.name)
    yield from (tally.family() for tally in (lag, pending, age, held_back))


def _number(lag: int | str) -> int:
    return lag if isinstance(lag, int) else int(lag.rstrip("+"))


def _of_stats(stats: Stats) -> Iterator[Family]:
    yield single(metrics.DEAD_LETTERS, stats.dead_letters)
    for name, metric in _COUNTERS.items():
        yield single(metric, stats.counters.get(name, 0))


def _rungs(ladder: list[Rung], known: tuple[int, ...]) -> Family:
    tally = Tally(metrics.RUNG_EVENTS)
    for rung in known:
        tally.values[str(rung),] = 0
    for one in ladder:
        tally.values[str(one.rung),] = one.count
    return tally.family()


def _of_waiting(limits: LimitsReport) -> Iterator[Family]:
    waiting = Tally(metrics.WAITING)
    for lane in LANES:
        waiting.values[lane,] = sum(room.waiting[lane] for room in limits.rooms)
    waiting.values[_HELD,] = sum(use.held for tenant in limits.tenants for use in tenant.uses())
    yield waiting.family()
    yield single(metrics.WAITING_OLDEST, limits.oldest_s)


def _of_deployments(deployments: list[DeploymentReport]) -> Iterator[Family]:
    leases, most = Tally(metrics.LEASES), Tally(metrics.LEASES_LIMIT)
    cut_off = Tally(metrics.CUT_OFF)
    for one in deployments:
        leases.values[one.name,] = one.use.used.get("concurrency", 0)
        cut_off.values[one.name,] = float(one.state != "closed")
        limit = one.use.limit("concurrency")
        if limit is not None:
            most.values[one.name,] = limit
    yield from (tally.family() for tally in (leases, most, cut_off))


def _keys(limits: LimitsReport) -> Family:
    tally = Tally(metrics.KEYS)
    for key in limits.keys:
        provider = key.name.partition(":")[0]
        for state in get_args(State):
            tally.values[provider, state] += state == key.state
    return tally.family()
