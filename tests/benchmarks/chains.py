"""Races of queued work: so much is put in before, then workers go, and two milestones are timed.

What lies between the milestones counts: no start of a process, and no first batch, is in it.
"""

import time
from collections.abc import Callable

import msgspec

from tests.benchmarks.actors import MARKS, MILESTONES, Kind, declare, make_broker
from tests.benchmarks.costs import Costs, less
from tests.benchmarks.ground import BY_REDIS, GO, Bench, Ground
from tests.benchmarks.loading import BenchmarkFailed

BODY = '{"model":"fast","messages":[{"role":"user","content":"Say hello to the whole house."}]}'

_RACE_S = 180.0
#: The share of the work that is not measured.
_WARM = 0.1
_POLL_S = 0.005


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """What was done between the milestones, in which time, and at which cost."""

    done: int
    seconds: float
    spent: Costs
    commands: int

    @property
    def rate(self) -> float:
        """Give the work done per second."""
        return self.done / self.seconds

    def cost_us(self, part: str) -> float:
        """Give the microseconds of CPU that a part spent on each."""
        return self.spent[part] / self.done * 1e6

    @property
    def total_us(self) -> float:
        """Give the microseconds of CPU that worker and Redis spent on each."""
        return self.cost_us("worker") + self.cost_us("redis")


def race_engine(bench: Bench, count: int) -> Race:
    """Let the engine carry requests through its four hops, without a provider call."""
    with Ground(bench) as ground:
        ground.start_worker("tests.benchmarks.engine_app", until=BY_REDIS)
        with ground.client.pipeline(transaction=False) as batch:
            for number in range(count):
                batch.xadd("sluice:requests:default", {"event": BODY})
                if number % 1000 == 999 or number == count - 1:
                    batch.execute()

        def reached(milestone: int) -> bool:
            return int(ground.client.xlen("sluice:done")) >= milestone

        race = _time(ground, count, reached)
        if ground.client.xlen("sluice:dead"):
            raise BenchmarkFailed("some requests became dead letters")
        return race


def race_actors(bench: Bench, kind: Kind, actor: str, count: int) -> Race:
    """Let a `dramatiq.Worker` of 8 threads do messages of an actor, with what follows from them."""
    with Ground(bench) as ground:
        arguments = ["-m", "tests.benchmarks.actors", kind, ground.redis.url]
        ground.start("worker", arguments, until=BY_REDIS)
        broker = make_broker(kind, ground.redis.url)
        sent = declare(broker, lambda: None)[actor]
        for _ in range(count):
            sent.send(BODY)
        broker.close()
        ground.client.rpush(MILESTONES, int(count * _WARM), count)

        def reached(milestone: int) -> bool:
            return str(milestone).encode() in ground.client.lrange(MARKS, 0, -1)

        return _time(ground, count, reached)


def _time(ground: Ground, count: int, reached: Callable[[int], bool]) -> Race:
    ground.client.rpush(GO, "go")
    first = int(count * _WARM)
    _await(first, reached)
    began, before, commands = time.perf_counter(), ground.spent(), _commands(ground)
    _await(count, reached)
    seconds = time.perf_counter() - began
    return Race(
        done=count - first,
        seconds=seconds,
        spent=less(ground.spent(), before),
        commands=_commands(ground) - commands,
    )


def _await(milestone: int, reached: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + _RACE_S
    while not reached(milestone):
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"{milestone} were not done within {_RACE_S:.0f} s")
        time.sleep(_POLL_S)


def _commands(ground: Ground) -> int:
    return int(ground.client.info("stats")["total_commands_processed"])
