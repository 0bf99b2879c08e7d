"""What a relayed delta costs: long streams less short ones, at a model's pace and at full speed.

The difference leaves out what a request costs by itself.
"""

from collections.abc import Mapping

from tests.benchmarks.costs import less
from tests.benchmarks.figures import Figure
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.http import BODY
from tests.benchmarks.loading import OURS, Measured, split
from tests.benchmarks.plans import Plan, Target

_STREAMS = 100
_SHORT_TOKENS = 25
_BURST_TOKENS = 100


def run(bench: Bench) -> list[Figure]:
    """Measure 100 streams of 50 tokens a second, then streams as fast as they come."""
    with Ground(bench) as ground:
        ground.start_all()
        paced, unpaced = _paced(bench, ground), _unpaced(bench, ground)
    short, _ = unpaced
    return [
        _figure(bench, f"deltas of {_STREAMS} streams of 50/s", paced),
        _figure(bench, "deltas at full speed", unpaced),
        Figure(
            what=f"a whole stream of {_BURST_TOKENS} deltas at full speed",
            value=short.ours_s / short.requests * 1e3,
            unit="ms of CPU",
            beside=short.parts(1e-3, short.requests),
        ),
    ]


def _paced(bench: Bench, ground: Ground) -> list[Measured]:
    """Start the streams at random times, so that their deltas do not come together."""
    pace = {"tps": 50, "jitter": 0.5, "ttft_ms": 0}
    return [
        ground.load(
            Plan(
                targets=(_target(ground, {**pace, "tokens": tokens}),),
                connections=_STREAMS,
                ramp_s=1.0,
            )
        ).checked()
        # The first one is a warm-up.
        for tokens in (_SHORT_TOKENS, _SHORT_TOKENS, bench.size(1025, 225))
    ][1:]


def _unpaced(bench: Bench, ground: Ground) -> list[Measured]:
    return [
        ground.load(
            Plan(
                targets=(_target(ground, {"tokens": tokens}),),
                connections=16,
                warm=64,
                requests=bench.size(2_000, 400),
            )
        ).checked()
        for tokens in (_BURST_TOKENS, 600)
    ]


def _target(ground: Ground, simulate: Mapping[str, float]) -> Target:
    body = {**BODY, "stream": True, "simulate": {**simulate, "delta_bytes": 20}}
    return Target(port=ground.gateway_port, body=body)


def _figure(bench: Bench, what: str, runs: list[Measured]) -> Figure:
    short, long = runs
    deltas = long.frames - short.frames
    spent = {
        **less(long.spent, short.spent),
        "load": long.report.cpu_s - short.report.cpu_s,
    }
    parts = split(spent, deltas * 1e-6)
    bench.say(
        f"{what}: {long.frames:,} deltas in {long.report.seconds:.1f} s, CPU µs/delta: {parts}"
    )
    return Figure(
        what=what,
        value=sum(spent[part] for part in OURS) / deltas * 1e6,
        unit="µs/delta",
        at_most=15,
        beside=parts,
    )
