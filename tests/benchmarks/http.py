"""Completions through the whole pipeline to a simulated provider of 0 ms, beside direct calls."""

from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.loading import Measured
from tests.benchmarks.plans import Plan, Target

BODY: dict[str, object] = {
    "model": "fast",
    "messages": [{"role": "user", "content": "Say hello to the whole house."}],
}


def run(bench: Bench) -> list[Figure]:
    """Measure 64 at once and 1 at once, each through the pipeline and directly."""
    with Ground(bench) as ground:
        ground.start_all()
        many, many_direct = _both(bench, ground, 64)
        one, one_direct = _both(bench, ground, 1)
    cost_ms = many.ours_s / many.requests * 1000
    return [
        Figure(
            what="completions, 64 at once",
            value=many.rate,
            unit="requests/s",
            at_least=2_000,
            beside=f"direct {shown(many_direct.rate)}",
        ),
        Figure(
            what="… CPU of gateway, worker and Redis",
            value=cost_ms,
            unit="ms/request",
            at_most=0.6,
            beside=many.parts(1e-3, many.requests),
        ),
        *_times("completion, 64 at once", many, many_direct),
        Figure(
            what="completions, 1 at once",
            value=one.rate,
            unit="requests/s",
            beside=f"direct {shown(one_direct.rate)}",
        ),
        *_times("completion, 1 at once", one, one_direct),
    ]


def _both(bench: Bench, ground: Ground, at_once: int) -> tuple[Measured, Measured]:
    return (
        _load(bench, ground, at_once, ground.gateway_port, "pipeline"),
        _load(bench, ground, at_once, ground.simulated_port, "direct"),
    )


def _load(bench: Bench, ground: Ground, at_once: int, port: int, way: str) -> Measured:
    plan = Plan(
        targets=(Target(port=port, body=BODY),),
        connections=at_once,
        warm=bench.size(30, 10) * at_once,
        seconds=bench.size(15, 3),
    )
    measured = ground.load(plan).checked()
    took = measured.report.accounts[0].took
    bench.say(
        f"{way}, {at_once} at once: {shown(measured.rate)}/s, "
        f"p50 {shown(took.p50)} ms, p99 {shown(took.p99)} ms, "
        f"CPU ms: {measured.parts(1e-3, measured.requests)}"
    )
    return measured


def _times(what: str, measured: Measured, direct: Measured) -> list[Figure]:
    took, beside = measured.report.accounts[0].took, direct.report.accounts[0].took
    return [
        Figure(
            what=f"{what}, p50", value=took.p50, unit="ms", beside=f"direct {shown(beside.p50)}"
        ),
        Figure(
            what=f"{what}, p99", value=took.p99, unit="ms", beside=f"direct {shown(beside.p99)}"
        ),
    ]
