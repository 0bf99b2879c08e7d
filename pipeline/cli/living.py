"""Who lives: workers by their keys, gateways by their latest sign."""

from typing import Final, cast

import msgspec
import redis

from pipeline.names import Names

#: A gateway without a sign for so long is dead.
GATEWAY_SILENCE_S: Final = 15.0


class Worker(msgspec.Struct, kw_only=True):
    """The facts that a worker keeps in its liveness key; some may be missing."""

    name: str = ""
    pid: int = 0
    host: str = ""
    #: Unix seconds.
    started: float = 0.0
    #: Events under way by hop.
    running: dict[str, int] = {}


class Gateway(msgspec.Struct, kw_only=True):
    """A gateway process and when it gave its latest sign, in seconds ago."""

    name: str
    silent_s: float


def alive(client: redis.Redis, names: Names) -> list[Worker]:
    """List the workers that live."""
    registered = cast("set[bytes]", client.smembers(names.workers))
    consumers = sorted(name.decode() for name in registered)
    if not consumers:
        return []
    keys = [names.worker(consumer) for consumer in consumers]
    facts = cast("list[bytes | None]", client.mget(keys))
    return [_worker(name, fact) for name, fact in zip(consumers, facts, strict=True) if fact]


def _worker(name: str, fact: bytes) -> Worker:
    try:
        return msgspec.structs.replace(msgspec.json.decode(fact, type=Worker), name=name)
    except msgspec.MsgspecError:
        return Worker(name=name)


def gateways(client: redis.Redis, names: Names, now: float) -> list[Gateway]:
    """List the gateways that live; `now` is Redis's time in Unix seconds."""
    oldest = now - GATEWAY_SILENCE_S
    reply = client.zrangebyscore(names.gateways, oldest, "+inf", withscores=True)
    listed = cast("list[tuple[bytes, float]]", reply)
    return [
        Gateway(name=name.decode(), silent_s=round(max(0.0, now - sign), 1))
        for name, sign in listed
    ]
