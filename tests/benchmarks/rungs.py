"""Rungs of the ladder filled with events as the call hop leaves them there."""

import asyncio
import time
from typing import Final

import msgspec

from pipeline import event as events
from pipeline.errors import Failure
from pipeline.event import Candidate, Event, Facts, Line
from pipeline.names import Names
from pipeline.streams.mover import Mover
from tests.benchmarks.ground import Ground
from tests.streams.rig import Client, linked

NAMES: Final = Names()
_PIPELINE: Final = 2_000
_PLACEHOLDER: Final = "0" * 10
_LIMITED: Final[Facts] = {"cause": "rate_limited", "status": 429, "call_ms": 1.25, "rung": 60}
_NO_BOUND: Final = 1_000_000_000
#: The gate is emptied after so many looks.
_DRAINED_EVERY: Final = 50


def climber(rung: int) -> bytes:
    """Write an event that was refused by its only deployment and has climbed."""
    deployment = "simulated/fast"
    journal = (
        Line(hop="route", start=1.7e9, end=1.7e9 + 0.001),
        Line(hop="gate", start=1.7e9, end=1.7e9 + 0.001, facts={"deployment": deployment}),
        Line(hop="call", start=1.7e9, end=1.7e9 + 0.002, facts=_LIMITED),
    )
    body = b'{"model":"fast","messages":[{"role":"user","content":"Say hello to the house."}]}'
    event = Event(
        id=f"r{_PLACEHOLDER}",
        model="fast",
        body=msgspec.Raw(body),
        body_bytes=len(body),
        created=1.7e9,
        patient=True,
        leg=2,
        climbed=(rung,),
        attempts=1,
        plan=(Candidate(deployment=deployment),),
        failure=Failure(message="Too many requests", status=429, cause="rate_limited"),
        status="retrying",
        journal=journal,
    )
    return events.encode(event)


def fill(client: Client, rung: int, count: int, *, due: float, records: bool = True) -> None:
    """Put events on a rung, all due at one time in Unix seconds, as `transition.lua` does."""
    template, stream, due_ms = climber(rung), NAMES.rung(rung), f"{1000 * due:.0f}"
    mark = _PLACEHOLDER.encode()
    for first in range(0, count, _PIPELINE):
        with client.pipeline(transaction=False) as pipe:
            for number in range(first, min(first + _PIPELINE, count)):
                name = f"{number:010}"
                event = template.replace(mark, name.encode())
                entry = f"{due_ms}-{number}"
                pipe.xadd(stream, {"event": event, "due": due_ms, "id": f"r{name}"}, id=entry)
                if records:
                    mapping = {"status": "retrying", "rung": rung, "rung_entry": entry, "due": due}
                    pipe.hset(NAMES.record(f"r{name}"), mapping=mapping)
            pipe.execute()
    client.zadd(NAMES.rungs, {str(rung): due_ms}, lt=True)
    client.set(f"{NAMES.rungs}:due", client.zrange(NAMES.rungs, 0, 0, withscores=True)[0][1])


def redis_time(client: Client) -> float:
    """Tell Redis's time in Unix seconds."""
    seconds, micros = client.time()
    return float(seconds + micros / 1e6)


class Moving(msgspec.Struct, frozen=True, kw_only=True):
    """What looking at the rungs cost; the gate took everything at once."""

    looks: int
    events: int
    seconds: float
    #: CPU seconds of Redis and of the process that looks.
    redis_s: float
    worker_s: float
    #: CPU µs of Redis in the longest look.
    longest_us: float


def move(ground: Ground, *, most: int, looks: int) -> Moving:
    """Look at the rungs so often, and move so many at the most each time."""
    return asyncio.run(_move(ground, most, looks))


async def _move(ground: Ground, most: int, looks: int) -> Moving:
    assert ground.redis.pid is not None
    # Linux's clock of the CPU time of another process.
    cpu_clock = (~ground.redis.pid << 3) | 2
    took_us: list[float] = []
    events_moved, paused_s = 0, 0.0
    async with linked(ground.redis.url) as link:
        mover = Mover(link, NAMES)
        await mover.move(most=0)
        began, mine = time.perf_counter(), time.process_time()
        for look in range(looks):
            before = time.clock_gettime_ns(cpu_clock)
            moved = await mover.move(most=most, at_gate=_NO_BOUND)
            took_us.append((time.clock_gettime_ns(cpu_clock) - before) / 1e3)
            events_moved += moved.events
            if look % _DRAINED_EVERY == 0:
                paused = time.perf_counter()
                ground.client.delete(NAMES.hop("gate"))
                paused_s += time.perf_counter() - paused
        return Moving(
            looks=looks,
            events=events_moved,
            seconds=time.perf_counter() - began - paused_s,
            redis_s=sum(took_us) / 1e6,
            worker_s=time.process_time() - mine,
            longest_us=max(took_us),
        )
