"""What a gateway and a worker cost while nothing happens."""

import time

from tests.benchmarks.costs import less
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench, Ground
from tests.benchmarks.http import BODY
from tests.benchmarks.plans import Plan, Target

#: After the last request, until everything has calmed down.
_CALM_S = 3.0

_TOTAL = "total_commands_processed"


def run(bench: Bench) -> list[Figure]:
    """Let some requests through, then watch."""
    seconds = bench.size(60, 10)
    with Ground(bench) as ground:
        ground.start_all()
        target = Target(port=ground.gateway_port, body=BODY)
        ground.load(Plan(targets=(target,), connections=8, warm=8, requests=200)).checked()
        time.sleep(_CALM_S)
        before, spent = _commands(ground), ground.spent()
        bench.say(f"watching for {seconds} s")
        time.sleep(seconds)
        cpu, after = less(ground.spent(), spent), _commands(ground)
    grown = {name: times - before.get(name, 0) for name, times in after.items()}
    # The watcher's own question, once within the time.
    total = grown.pop(_TOTAL) - grown.pop("info")
    told = sorted(((times, name) for name, times in grown.items() if times), reverse=True)
    bench.say("commands: " + ", ".join(f"{name} {times}" for times, name in told))
    return [
        Figure(
            what="Redis operations, idle",
            value=total / seconds,
            unit="/s",
            at_most=5,
            beside="one gateway, one worker",
        ),
        *(
            Figure(
                what=f"CPU of the {part}, idle",
                value=100 * cpu[part] / seconds,
                unit="% of a core",
                at_most=1,
                beside=f"{shown(cpu[part])} s in {seconds} s",
            )
            for part in ("gateway", "worker", "redis")
        ),
    ]


def _commands(ground: Ground) -> dict[str, int]:
    """Count the commands carried out so far by name, those within scripts included, and in all."""
    told = ground.client.info("all")
    by_name = {
        name.removeprefix("cmdstat_"): int(about["calls"])
        for name, about in told.items()
        if name.startswith("cmdstat_")
    }
    return {**by_name, _TOTAL: int(told[_TOTAL])}
