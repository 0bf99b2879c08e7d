"""How long accepting takes: `POST /chat/async` at 64 at once, while the workers work."""

from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.plans import Plan, Target

_BODY: dict[str, object] = {"message": "Say hello to the whole house.", "model": "fast"}


def run(bench: Bench) -> list[Figure]:
    """Measure 64 clients that each ask again at once, and 64 that ask together now and then."""
    with Ground(bench) as ground:
        ground.start_all()
        target = Target(port=ground.gateway_port, path="/chat/async", body=_BODY)
        plan = Plan(targets=(target,), connections=64, warm=640)
        figures = []
        for what, how in (
            ("accepting, 64 at once", {"seconds": bench.size(10, 3)}),
            (
                "accepting, 64 together every 250 ms",
                {"every_s": 0.25, "requests": bench.size(2_560, 640)},
            ),
        ):
            changed = Plan(targets=plan.targets, connections=64, warm=640, **how)
            measured = ground.load(changed).checked()
            took = measured.report.accounts[0].took
            told = f"{shown(measured.rate)}/s, p50 {shown(took.p50)} ms"
            bench.say(f"{what}: {told}, p99 {shown(took.p99)} ms, max {shown(took.max)} ms")
            figures.append(
                Figure(what=f"{what}, p99", value=took.p99, unit="ms", at_most=20, beside=told)
            )
    return figures
