"""What a full ladder costs, how late an event leaves it, and what others feel of many that do."""

import functools
import json
import time
from collections.abc import Callable
from typing import Final

import msgspec

from pipeline import event as events
from pipeline.flow import CALL, GATE, RESPOND
from tests.benchmarks import rungs
from tests.benchmarks.costs import less
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.http import BODY
from tests.benchmarks.loading import BenchmarkFailed
from tests.benchmarks.plans import Plan, Target, Times
from tests.benchmarks.rungs import NAMES, Moving
from tests.waiting import eventually

_RUNG: Final = 60
#: Events moved in one call where the gate takes everything.
_SLICE: Final = 64
#: In which a worker looks at what others left some three times.
_CALM_S: Final = 10.0
_FAR_S: Final = 3_600
_MB: Final = 1e6
#: Requests of others in a second, and how many before any of them counts.
_OTHERS_PER_S: Final = 20
_WARM: Final = 20
#: From the start of the load generator to its first requests that count, at the most.
_LEAD_S: Final = 3.0


def run(bench: Bench) -> list[Figure]:
    """Measure the standing ladder, then the mover alone, then both in a whole house."""
    figures: list[Figure] = []
    measures: tuple[Callable[[Bench, Ground], list[Figure]], ...] = (
        _standing, _moving, _lone, _crowd,
    )  # fmt: skip
    for number, measure in enumerate(measures):
        directory = bench.directory / str(number)
        directory.mkdir()
        own = msgspec.structs.replace(bench, directory=directory)
        with Ground(own) as ground:
            figures += measure(own, ground)
    return figures


def _standing(bench: Bench, ground: Ground) -> list[Figure]:
    """Let a million wait, and a worker watch over them."""
    many = bench.size(1_000_000, 20_000)
    ground.start_worker("workers.app")
    member_bytes = _as_members(ground, many // 10)
    time.sleep(_CALM_S)
    before, alone = ground.memory()["worker"], _idle(ground)
    used = _used(ground)
    bench.say(f"filling a rung with {many:,}")
    due = rungs.redis_time(ground.client) + _FAR_S
    rungs.fill(ground.client, _FAR_S, many, due=due, records=False)
    each_bytes = (_used(ground) - used) / many
    time.sleep(_CALM_S)
    watching = _idle(ground)
    grown = max(0.0, ground.memory()["worker"] - before)
    size = len(rungs.climber(_FAR_S))
    return [
        Figure(
            what=f"on a rung: each of {many:,} events of {size} bytes in Redis",
            value=each_bytes,
            unit="bytes",
            beside=f"as a member of a sorted set {shown(member_bytes)}",
        ),
        Figure(what="… worker's memory for them", value=grown / _MB, unit="MB", at_most=1),
        Figure(
            what="… CPU of an idle worker with them there",
            value=100 * watching / _CALM_S,
            unit="% of a core",
            at_most=1,
            beside=f"with none {shown(100 * alone / _CALM_S)}",
        ),
    ]


def _used(ground: Ground) -> int:
    return int(ground.client.info("memory")["used_memory"])


def _as_members(ground: Ground, count: int) -> float:
    """Tell the bytes of Redis for each event when they are members of a sorted set."""
    event, used = rungs.climber(_RUNG), _used(ground)
    for number in range(0, count, 1_000):
        names = (f"{number + n:010}".encode() for n in range(1_000))
        ground.client.zadd("sorted", {event.replace(b"0" * 10, name): 1.7e12 for name in names})
    taken = _used(ground) - used
    ground.client.delete("sorted")
    return taken / count


def _idle(ground: Ground) -> float:
    """Give the CPU seconds of the worker while nothing falls due."""
    before = ground.spent()
    time.sleep(_CALM_S)
    return less(ground.spent(), before)["worker"]


def _moving(bench: Bench, ground: Ground) -> list[Figure]:
    """Move none, a thousand and a hundred thousand to a gate that takes everything."""
    many = bench.size(100_000, 10_000)
    now = rungs.redis_time(ground.client)
    rungs.fill(ground.client, _FAR_S, many, due=now + _FAR_S)
    none = rungs.move(ground, most=_SLICE, looks=1_000)
    some = _move(ground, 1_000)
    most = _move(ground, many)
    bench.say(f"{many:,} in {most.seconds:.2f} s, Redis {most.redis_s:.2f} s of it")
    return [
        _cost("a look at a rung of which nothing is due", none, none.looks),
        _cost("moving 1,000 that fall due together", some, some.events),
        _cost(f"moving {many:,}", most, most.events),
        Figure(
            what="… how fast, to a gate that takes everything",
            value=most.events / most.seconds,
            unit="events/s",
            at_least=50_000,
            beside=f"{_SLICE} in each call of the script",
        ),
        Figure(
            what="… longest call, CPU of Redis",
            value=max(none.longest_us, some.longest_us, most.longest_us) / 1e3,
            unit="ms",
            at_most=2,
            beside=f"mean {shown(1e3 * most.redis_s / most.looks)}",
        ),
    ]


def _move(ground: Ground, count: int) -> Moving:
    rungs.fill(ground.client, _RUNG, count, due=rungs.redis_time(ground.client))
    moving = rungs.move(ground, most=_SLICE, looks=count // _SLICE + 1)
    if moving.events != count:
        raise BenchmarkFailed(f"{moving.events} of {count} events were moved")
    return moving


def _cost(what: str, moving: Moving, per: int) -> Figure:
    return Figure(
        what=f"{what}, CPU of Redis",
        value=1e6 * moving.redis_s / per,
        unit="µs each",
        beside=f"worker {shown(1e6 * moving.worker_s / per)}",
    )


def _lone(bench: Bench, ground: Ground) -> list[Figure]:
    """Let events fall due one by one on a rung of a second, in a real worker."""
    count = bench.size(50, 15)
    failing = {"ladder": [1], "retry": {"quick": 0}}
    config = bench.directory / "sluice.yaml"
    config.write_text(json.dumps(failing))
    simulated = ["-m", "workers.providers.simulated", "--port", str(ground.simulated_port)]
    known = {"SLUICE_CONFIG": str(config)}
    ground.start("simulated", [*simulated, "--set", "error=503"], until="simulated provider on")
    worker = ["-m", "dramatiq", "--processes", "1", "--threads", "1", "workers.app"]
    ground.start("worker", worker, until="ready for action", environment=known)
    due: dict[str, float] = {}
    for number in range(count):
        name = f"lone{number}"
        event = {"request_id": name, "model": "fast", "prompt": "hi"}
        ground.client.xadd(NAMES.requests["default"], {"event": json.dumps(event)})
        due[name] = eventually(functools.partial(_due, ground, name), 10.0, "the climb")
        time.sleep(0.1)
    eventually(lambda: ground.client.xlen(NAMES.dead) == count, 30.0, "the end of all")
    late = sorted(start - due[name] for name, start in _second_gates(ground).items())
    return [
        Figure(
            what=f"how late {count} lone events left, p50",
            value=1e3 * late[len(late) // 2],
            unit="ms",
            at_most=100,
        ),
        Figure(what="… max", value=1e3 * late[-1], unit="ms", at_most=100),
    ]


def _due(ground: Ground, name: str) -> float:
    """Tell when an event on a rung falls due, in Unix seconds; 0: it is on none."""
    return float(ground.client.hget(NAMES.record(name), "due") or 0)


def _second_gates(ground: Ground) -> dict[str, float]:
    """Tell when each event was at the gate for the second time, in Unix seconds."""
    found = {}
    for _, fields in ground.client.xrange(NAMES.done):
        ended = events.decode(fields[b"event"])
        found[ended.id] = [line.start for line in ended.journal if line.hop == GATE][1]
    return found


def _crowd(bench: Bench, ground: Ground) -> list[Figure]:
    """Let many fall due at once, and others ask at a low rate before, meanwhile and after."""
    many = bench.size(100_000, 6_000)
    calm = bench.size(400, 60)
    ground.start_all()
    due = rungs.redis_time(ground.client) + bench.size(90, 20)
    rungs.fill(ground.client, _RUNG, many, due=due)
    before = _others(ground, calm)
    time.sleep(max(0.0, due - rungs.redis_time(ground.client) - _LEAD_S))
    spent = ground.spent()
    busy = _others(ground, bench.size(700, 60))
    left = int(ground.client.xlen(NAMES.rung(_RUNG)))
    bench.say(f"{left:,} of {many:,} were still to leave when others had been measured")
    eventually(lambda: _done(ground) >= many, 600.0, "the end of all")
    took_s, cost = rungs.redis_time(ground.client) - due, less(ground.spent(), spent)
    after = _others(ground, calm)
    each = ", ".join(f"{part} {shown(1e6 * cost[part] / many)}" for part in ("worker", "redis"))
    return [
        Figure(
            what=f"others' p99 while {many:,} that fell due at once go through: growth",
            value=busy.p99 - (before.p99 + after.p99) / 2,
            unit="ms",
            at_most=10,
            beside=f"{shown(busy.p99)} against {shown(before.p99)} and {shown(after.p99)}; "
            f"p50 {shown(busy.p50)} against {shown(before.p50)} and {shown(after.p50)}",
        ),
        Figure(
            what="… how fast those end, one worker",
            value=many / took_s,
            unit="requests/s",
            beside=f"CPU µs: {each}",
        ),
    ]


def _others(ground: Ground, count: int) -> Times:
    target = Target(port=ground.gateway_port, body=BODY)
    plan = Plan(targets=(target,), warm=_WARM, requests=count, every_s=1 / _OTHERS_PER_S)
    return ground.load(plan).checked().report.accounts[0].took


def _done(ground: Ground) -> int:
    """Count what has ended, those on their way not."""
    on_their_way = (NAMES.rung(_RUNG), *map(NAMES.hop, (GATE, CALL, RESPOND)))
    if any(map(ground.client.xlen, on_their_way)):
        return 0
    return int(ground.client.xlen(NAMES.done))
