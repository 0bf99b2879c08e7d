"""What tracing costs: four houses side by side that differ in nothing else, loaded in turns.

One traces nothing, one samples none of its requests, one all of them, and one all of them to a
collector that is not there.
"""

import signal
import sys
import time
from contextlib import ExitStack
from typing import Final

import msgspec

from pipeline.embedded.redis_server import free_port
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.http import BODY
from tests.benchmarks.loading import Measured
from tests.benchmarks.plans import Plan, Target, Times

_OFF, _NONE, _ALL, _DEAD = "off", "sampling 0", "sampling 1", "dead collector"
_HOUSES: Final = (_OFF, _NONE, _ALL, _DEAD)
_AT_ONCE: Final = 64


def run(bench: Bench) -> list[Figure]:
    """Measure CPU by closed loops in turns, and latency by one open loop over all houses."""
    with ExitStack() as stack:
        grounds = {name: stack.enter_context(_ground(bench, name)) for name in _HOUSES}
        sink = free_port()
        sinking = [sys.executable, "-m", "tests.benchmarks.sink", str(sink)]
        grounds[_OFF].start_beside("sink", sinking, "sink listens")
        for name, ground in grounds.items():
            _start(ground, name, sink)
        cpu_ms = _cpu_ms(bench, grounds)
        took = _latencies(bench, grounds)
        stopping_s = {name: _stopping_s(grounds[name]) for name in (_OFF, _ALL, _DEAD)}
    return [*_cpu_figures(cpu_ms), *_latency_figures(took), *_stopping_figures(stopping_s)]


def _ground(bench: Bench, name: str) -> Ground:
    directory = bench.directory / name.replace(" ", "-")
    directory.mkdir()
    return Ground(msgspec.structs.replace(bench, directory=directory))


def _start(ground: Ground, name: str, sink: int) -> None:
    if name != _OFF:
        port = free_port() if name == _DEAD else sink
        ground.environment = {
            "SLUICE_TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "SLUICE_TELEMETRY__SAMPLING": "0" if name == _NONE else "1",
        }
    ground.start_all()


def _cpu_ms(bench: Bench, grounds: dict[str, Ground]) -> dict[str, float]:
    """Give the CPU of each house per request, in ms, over rounds in changing order."""
    measured: dict[str, list[Measured]] = {name: [] for name in grounds}
    for number in range(bench.size(8, 2)):
        turn = number % len(_HOUSES)
        for name in (*_HOUSES[turn:], *_HOUSES[:turn]):
            ground = grounds[name]
            plan = Plan(
                targets=(Target(port=ground.gateway_port, body=BODY),),
                connections=_AT_ONCE,
                warm=3 * _AT_ONCE,
                seconds=bench.size(4, 2),
            )
            one = ground.load(plan).checked()
            measured[name].append(one)
            bench.say(f"{name}: {one.parts(1e-3, one.requests)} ms, {shown(one.rate)}/s")
    return {
        name: 1000 * sum(one.ours_s for one in some) / sum(one.requests for one in some)
        for name, some in measured.items()
    }


def _latencies(bench: Bench, grounds: dict[str, Ground]) -> dict[str, Times]:
    """Give the times of each house at 25 requests a second, sent to all of them in turn."""
    plan = Plan(
        targets=tuple(Target(port=grounds[name].gateway_port, body=BODY) for name in _HOUSES),
        warm=80,
        requests=bench.size(6000, 400),
        every_s=1 / 100,
    )
    report = grounds[_OFF].load(plan).checked().report
    took = {name: one.took for name, one in zip(_HOUSES, report.accounts, strict=True)}
    for name, times in took.items():
        bench.say(f"{name}: p50 {shown(times.p50)} ms, p99 {shown(times.p99)} ms")
    return took


def _stopping_s(ground: Ground) -> float:
    """Tell how long a worker takes from SIGTERM to its end, with spans still to be sent."""
    worker = ground.part("worker")
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.wait(30)
    return time.monotonic() - began


def _cpu_figures(cpu_ms: dict[str, float]) -> list[Figure]:
    off = cpu_ms[_OFF]
    return [
        Figure(
            what="CPU of a completion at 64 at once, nothing sampled",
            value=(cpu_ms[_NONE] / off - 1) * 100,
            unit="%",
            at_most=2,
            beside=f"{shown(cpu_ms[_NONE])} against {shown(off)} ms without tracing",
        ),
        Figure(
            what="… all sampled, the exporter's thread included",
            value=cpu_ms[_ALL] - off,
            unit="ms",
            at_most=0.25,
            beside=f"{shown(cpu_ms[_ALL])} against {shown(off)} ms",
        ),
        Figure(
            what="… all sampled, no collector there",
            value=cpu_ms[_DEAD] - off,
            unit="ms",
            beside=f"{shown(cpu_ms[_DEAD])} against {shown(off)} ms",
        ),
    ]


def _latency_figures(took: dict[str, Times]) -> list[Figure]:
    off = took[_OFF]
    return [
        Figure(
            what=f"p99 of a completion at 25/s, {name}",
            value=(took[name].p99 / off.p99 - 1) * 100,
            unit="%",
            at_most=10,
            beside=f"{shown(took[name].p99)} against {shown(off.p99)} ms; "
            f"p50 {shown(took[name].p50)} against {shown(off.p50)}",
        )
        for name in (_NONE, _ALL, _DEAD)
    ]


def _stopping_figures(stopping_s: dict[str, float]) -> list[Figure]:
    return [
        Figure(
            what=f"a worker's end after SIGTERM, {name}",
            value=stopping_s[name],
            unit="s",
            beside=f"{shown(stopping_s[_OFF])} s without tracing",
        )
        for name in (_ALL, _DEAD)
    ]
