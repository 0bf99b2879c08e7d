"""What admission costs Redis: by candidates, by who waits, and by how many ask at once."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from pipeline.limits.admission import MAX_BATCH, Admission
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.hall import BATCHES, Call, Case, Hall
from tests.streams.rig import NAMES, linked

#: µs per event at the most, by the number of candidates.
TARGETS: Final = {1: 15.0, 20: 60.0, 200: 400.0}
#: The batch whose figures have targets.
USUAL: Final = 16
#: ms that one call may hold Redis.
LONGEST_MS: Final = 2.0
#: Events times candidates: a worker does not ask for so many more in one call.
_MOST_PAIRS: Final = 1_280
_SWEEP_S: Final = 3.0
_WORKERS: Final = 3
#: Who waits while nothing can be had.
_WAITING: Final = 10_000


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a case cost in batches of one size: µs per event of each verb, and of Redis in all."""

    us: dict[str, float]
    cpu_us: float
    longest: Call


#: Those that look at all candidates that have capacity.
STRATEGIES: Final = ("weighted", "round_robin", "latency", "cost")


def run(bench: Bench) -> list[Figure]:
    """Measure all cases, then the worst calls, then the quiet of a full room."""
    many = bench.size(100_000, 10_000)
    cases = [Case(candidates=n, waiting=w) for n in TARGETS for w in (0, 1_000, many)]
    cases += [
        Case(candidates=20, waiting=waiting, keys=keys, limited=limited)
        for waiting in (0, 1_000)
        for keys, limited in ((2, False), (1, True))
    ]
    cases += [Case(candidates=20, strategy=strategy) for strategy in STRATEGIES]
    with Ground(bench) as ground:
        figures = [_baseline(ground)]
        longest = []
        for case in cases:
            hall = Hall(ground, bench, case)
            hall.fill()
            costs = {batch: _cost(hall, batch, bench) for batch in BATCHES}
            figures += _told(bench, case, costs)
            longest += [
                (cost.longest, case.name)
                for batch, cost in costs.items()
                if batch * case.candidates <= _MOST_PAIRS
            ]
        longest.append(_worst(bench, ground))
        figures += [_longest(longest), asyncio.run(_quiet(bench, ground))]
    return figures


def _baseline(ground: Ground) -> Figure:
    """Measure the least that a script, and the writing of one entry, can cost."""
    redis, times = ground.client, 5_000
    sha = redis.script_load("return 1")
    redis.config_resetstat()
    with redis.pipeline(transaction=False) as pipe:
        for n in range(times):
            pipe.evalsha(sha, 0)
            pipe.hset("hash", str(n), "ticket")
            pipe.zadd("line", {str(n): n})
        pipe.execute()
    stats = redis.info("commandstats")
    pair = stats["cmdstat_hset"]["usec"] + stats["cmdstat_zadd"]["usec"]
    return Figure(
        what="baseline: HSET and ZADD",
        value=pair / times,
        unit="µs",
        beside=f"an empty script {shown(stats['cmdstat_evalsha']['usec'] / times)} µs",
    )


def _cost(hall: Hall, batch: int, bench: Bench) -> Cost:
    """Admit and settle in turn, so that leases and those who wait stay as many as they are."""
    rounds = max(20, bench.size(1_000, 400) // batch)
    for _ in range(3):
        _turn(hall, batch)
    hall.watch()
    for _ in range(rounds):
        _turn(hall, batch)
    by_verb: dict[str, list[Call]] = {}
    for call in hall.watched():
        by_verb.setdefault(call.what, []).append(call)
    return Cost(
        us={what: sum(c.us for c in calls) / rounds / batch for what, calls in by_verb.items()},
        cpu_us=hall.spent_us / rounds / batch,
        longest=_longest_of([call for calls in by_verb.values() for call in calls]),
    )


def _turn(hall: Hall, batch: int) -> None:
    hall.admit(batch, batch)
    hall.claim(hall.settle(batch))


def _longest_of(calls: list[Call]) -> Call:
    return max(calls, key=lambda call: call.us)


def _told(bench: Bench, case: Case, costs: dict[int, Cost]) -> list[Figure]:
    for batch, cost in costs.items():
        verbs = ", ".join(f"{what} {shown(us)}" for what, us in cost.us.items())
        bench.say(
            f"{case.name}, by {batch}: {verbs} µs; Redis in all {shown(cost.cpu_us)} µs; "
            f"longest {cost.longest.what} {shown(cost.longest.us)} µs"
        )
    return [
        Figure(
            what=f"{what}: {case.name}",
            value=costs[USUAL].us[what],
            unit="µs/event",
            at_most=TARGETS[case.candidates],
            beside=f"one by one {shown(costs[1].us[what])}, by 64 {shown(costs[64].us[what])}",
        )
        for what in ("admit", "settle")
    ]


def _worst(bench: Bench, ground: Ground) -> tuple[Call, str]:
    """Let many calls end at once that 20 rooms of 200 candidates wait for."""
    case = Case(candidates=200, waiting=2_000, rooms=20)
    hall = Hall(ground, bench, case)
    hall.fill()
    hall.watch()
    for _ in range(bench.size(20, 5)):
        hall.admit(5, 5)
        hall.claim(hall.settle(MAX_BATCH))
    longest = _longest_of(hall.watched())
    bench.say(f"20 rooms of 200 candidates: longest {longest.what} {shown(longest.us)} µs")
    return longest, "20 rooms of 200 candidates"


def _longest(calls: list[tuple[Call, str]]) -> Figure:
    call, name = max(calls, key=lambda one: one[0].us)
    return Figure(
        what="longest call",
        value=call.us / 1000,
        unit="ms",
        at_most=LONGEST_MS,
        beside=f"{call.what} of {call.events}: {name}",
    )


async def _quiet(bench: Bench, ground: Ground) -> Figure:
    """Count what Redis does while nothing can be had: three workers look after the room."""
    seconds = bench.size(15, 6)
    hall = Hall(ground, bench, Case(candidates=20, waiting=_WAITING))
    hall.fill()
    async with AsyncExitStack() as stack:
        halls = []
        for n in range(_WORKERS):
            link = await stack.enter_async_context(linked(ground.redis.url, f"worker-{n}"))
            halls.append(Admission(link, NAMES, hall.settings, hall.catalog))
        before = _operations(hall)
        for _ in range(int(seconds / _SWEEP_S)):
            await asyncio.gather(*(one.sweep(_SWEEP_S * 0.9) for one in halls))
            await asyncio.sleep(_SWEEP_S)
        operations = _operations(hall) - before
    return Figure(
        what=f"Redis operations, {_WAITING:,} waiting and no capacity",
        value=operations / seconds,
        unit="/s",
        at_most=20,
        beside=f"{_WORKERS} workers",
    )


def _operations(hall: Hall) -> int:
    return int(hall.redis.info("stats")["total_commands_processed"])
