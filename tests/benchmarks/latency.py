"""What the pipeline adds to a completion at low load: 20 a second, one after the other."""

from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.http import BODY
from tests.benchmarks.plans import Plan, Target


def run(bench: Bench) -> list[Figure]:
    """Send in turn through the pipeline and directly, and compare."""
    with Ground(bench) as ground:
        ground.start_all()
        ports = (ground.gateway_port, ground.simulated_port)
        plan = Plan(
            targets=tuple(Target(port=port, body=BODY) for port in ports),
            warm=40,
            requests=bench.size(1200, 200),
            every_s=1 / 40,
        )
        measured = ground.load(plan).checked()
    through, direct = (account.took for account in measured.report.accounts)
    bench.say(f"pipeline: p50 {shown(through.p50)} ms, p99 {shown(through.p99)} ms")
    bench.say(f"direct: p50 {shown(direct.p50)} ms, p99 {shown(direct.p99)} ms")
    return [
        Figure(
            what="added to a completion at 20/s, p50",
            value=through.p50 - direct.p50,
            unit="ms",
            at_most=2.5,
            beside=f"{shown(through.p50)} against {shown(direct.p50)}",
        ),
        Figure(
            what="… p99",
            value=through.p99 - direct.p99,
            unit="ms",
            at_most=8,
            beside=f"{shown(through.p99)} against {shown(direct.p99)}",
        ),
    ]
