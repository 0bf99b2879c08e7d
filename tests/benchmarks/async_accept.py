"""How long accepting takes: `POST /chat/async` at 64 at once, while the workers work."""

from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.loading import Measured
from tests.benchmarks.plans import Plan, Target

_BODY: dict[str, object] = {"message": "Say hello to the whole house.", "model": "fast"}


def run(bench: Bench) -> list[Figure]:
    """Measure 64 clients that ask together now and then, and 64 that each ask again at once."""
    with Ground(bench) as ground:
        ground.start_all()
        target = Target(port=ground.gateway_port, path="/chat/async", body=_BODY)
        together = Plan(
            targets=(target,),
            connections=64,
            warm=640,
            every_s=0.25,
            requests=bench.size(2_560, 640),
        )
        # Last, as it leaves the worker far behind.
        at_once = Plan(targets=(target,), connections=64, warm=640, seconds=bench.size(10, 3))
        return [
            _figure(bench, "64 together every 250 ms", ground.load(together).checked()),
            _figure(bench, "64 at once", ground.load(at_once).checked()),
        ]


def _figure(bench: Bench, what: str, measured: Measured) -> Figure:
    took = measured.report.accounts[0].took
    told = f"{shown(measured.rate)}/s, p50 {shown(took.p50)} ms"
    bench.say(f"{what}: {told}, p99 {shown(took.p99)} ms, max {shown(took.max)} ms")
    return Figure(
        what=f"accepting, {what}, p99", value=took.p99, unit="ms", at_most=20, beside=told
    )
