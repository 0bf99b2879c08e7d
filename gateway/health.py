"""`/health` for load balancers, `/health/full` for people: bounded in time, whatever Redis does."""

import asyncio
from typing import Final, Literal

import msgspec
import redis.exceptions

from gateway.exchange import Exchange
from gateway.gateway import Gateway
from pipeline import clock
from pipeline.errors import RedisUnavailable
from pipeline.flow import HOPS, ROUTE
from pipeline.names import LANES
from pipeline.streams.inbox import BLOCK_S
from pipeline.streams.link import Argument, Reply
from pipeline.streams.scripts import TRIM, load

BACKLOG: Final = load("gateway", "backlog")

#: Counting entries behind a group's place costs Redis time; more than this many are not counted.
MOST_COUNTED: Final = 10_000

#: A gateway that has given no sign of life for three of its reads is gone.
_GATEWAY_SILENCE_S: Final = 3 * BLOCK_S


class Redis(msgspec.Struct, frozen=True, kw_only=True):
    """How Redis is."""

    reachable: bool
    version: str = ""
    used_memory_bytes: int = 0
    #: 0: no limit.
    maxmemory_bytes: int = 0
    maxmemory_policy: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of a stream; `lag` is what it has not read, as a number or `10000+`."""

    name: str
    consumers: int
    pending: int
    lag: int | str


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream and its groups."""

    name: str
    length: int
    groups: list[Group]
    #: The group that alone keeps entries past the retention; empty: none does.
    held_by: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance."""

    status: Literal["ok", "degraded", "down"]
    redis: Redis
    workers: list[str] = []
    gateways: list[str] = []
    streams: list[Stream] = []
    warnings: list[str] = []


class HealthRoutes:
    """The routes `/health` and `/health/full`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def alive(self, exchange: Exchange) -> None:
        """GET /health: this process serves."""
        await exchange.answer(200, b'{"status":"ok"}')

    async def full(self, exchange: Exchange) -> None:
        """GET /health/full: 503 when Redis is away or no worker is alive."""
        try:
            async with asyncio.timeout(self._gateway.pace.health_s):
                health = await self.look()
        except (RedisUnavailable, TimeoutError):
            health = Health(
                status="down", redis=Redis(reachable=False), warnings=["Redis does not answer"]
            )
        status = 503 if health.status == "down" else 200
        await exchange.answer(status, msgspec.json.encode(health))

    async def look(self) -> Health:
        """See how everything is. Raises `RedisUnavailable`."""
        # All of them wait in one write of the link.
        shown, workers, gateways, streams = await asyncio.gather(
            self._redis(), self._workers(), self._gateways(), self._streams()
        )
        warnings = [
            f"the group {stream.held_by} alone keeps entries of {stream.name} past the retention"
            for stream in streams
            if stream.held_by
        ]
        if not workers:
            warnings.append("no worker is alive")
        if shown.maxmemory_bytes and shown.maxmemory_policy != "noeviction":
            warnings.append(
                f"maxmemory-policy is {shown.maxmemory_policy}: Redis may drop requests"
            )
        return Health(
            status="down" if not workers else "degraded" if warnings else "ok",
            redis=shown,
            workers=workers,
            gateways=gateways,
            streams=streams,
            warnings=warnings,
        )

    async def _redis(self) -> Redis:
        text: bytes = await self._gateway.ask("INFO")
        lines = [line.partition(":") for line in text.decode().splitlines() if ":" in line]
        facts = {name: value for name, _, value in lines}
        return Redis(
            reachable=True,
            version=facts.get("redis_version", ""),
            used_memory_bytes=int(facts.get("used_memory", "0")),
            maxmemory_bytes=int(facts.get("maxmemory", "0")),
            maxmemory_policy=facts.get("maxmemory_policy", ""),
        )

    async def _workers(self) -> list[str]:
        names = self._gateway.names
        seen = [name.decode() for name in await self._gateway.ask("SMEMBERS", names.workers)]
        asked = [self._gateway.ask("EXISTS", names.worker(name)) for name in seen]
        there = await asyncio.gather(*asked)
        return sorted(name for name, alive in zip(seen, there, strict=True) if alive)

    async def _gateways(self) -> list[str]:
        since = f"{clock.now() - _GATEWAY_SILENCE_S:.3f}"
        key = self._gateway.names.gateways
        found = await self._gateway.ask("ZRANGEBYSCORE", key, since, "+inf")
        return sorted(name.decode() for name in found)

    async def _streams(self) -> list[Stream]:
        retention = self._gateway.settings.retention
        ends = {f"requests:{lane}": retention.events_s for lane in LANES}
        ends |= {"done": retention.events_s, "dead": retention.dead_s}
        hops = [hop.name for hop in HOPS if hop.name != ROUTE]
        each = [self._stream(name, ends.get(name, 0)) for name in [*ends, *hops]]
        return await asyncio.gather(*each)

    async def _stream(self, name: str, kept_s: int) -> Stream:
        prefix = self._gateway.names.prefix
        arguments: list[Argument] = [prefix, name, 1 if kept_s else 0, MOST_COUNTED + 1]
        length, groups = await self._gateway.run(BACKLOG, arguments)
        return Stream(
            name=name,
            length=length,
            groups=[_group(group) for group in groups],
            held_by=await self._held_by(name, kept_s) if kept_s and length else "",
        )

    async def _held_by(self, name: str, kept_s: int) -> str:
        """Ask the trimming script, which trims nothing when its slice is 0."""
        oldest = f"{int((clock.now() - kept_s) * 1000)}-0"
        most = self._gateway.settings.retention.max_entries
        prefix = self._gateway.names.prefix
        try:
            found: Reply = await self._gateway.link.run(
                TRIM, [f"{prefix}:{name}"], [prefix, oldest, most, 0, 0]
            )
        except redis.exceptions.RedisError:
            return ""
        holder: bytes = found[1]
        return holder.decode()


def _group(fields: list[bytes | int]) -> Group:
    name, consumers, pending, lag = fields
    assert isinstance(name, bytes)
    counted = int(lag)
    return Group(
        name=name.decode(),
        consumers=int(consumers),
        pending=int(pending),
        lag=counted if counted <= MOST_COUNTED else f"{MOST_COUNTED}+",
    )
