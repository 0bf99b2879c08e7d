"""What the pipeline adds to the time to a stream's first token: 20 a second, one by one."""

from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.http import BODY
from tests.benchmarks.plans import Plan, Target

#: The first token at once, the others after it.
_STREAM: dict[str, object] = {
    **BODY,
    "stream": True,
    "simulate": {"ttft_ms": 0, "tokens": 4, "tps": 400},
}


def run(bench: Bench) -> list[Figure]:
    """Open streams in turn through the pipeline and directly, and compare."""
    with Ground(bench) as ground:
        ground.start_all()
        ports = (ground.gateway_port, ground.simulated_port)
        plan = Plan(
            targets=tuple(Target(port=port, body=_STREAM) for port in ports),
            warm=40,
            requests=bench.size(1200, 200),
            every_s=1 / 40,
        )
        measured = ground.load(plan).checked()
    through, direct = (account.first for account in measured.report.accounts)
    bench.say(f"pipeline: p50 {shown(through.p50)} ms, p99 {shown(through.p99)} ms")
    bench.say(f"direct: p50 {shown(direct.p50)} ms, p99 {shown(direct.p99)} ms")
    return [
        Figure(
            what="added to the first token at 20/s, p50",
            value=through.p50 - direct.p50,
            unit="ms",
            at_most=4,
            beside=f"{shown(through.p50)} against {shown(direct.p50)}",
        ),
        Figure(
            what="… p99",
            value=through.p99 - direct.p99,
            unit="ms",
            beside=f"{shown(through.p99)} against {shown(direct.p99)}",
        ),
    ]
