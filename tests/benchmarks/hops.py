"""Four hops without a provider call, beside the same four actors on Dramatiq's own broker."""

from tests.benchmarks.chains import Race, race_actors, race_engine
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench


def run(bench: Bench) -> list[Figure]:
    """Race the engine, Dramatiq's RedisBroker and our StreamBroker, one after the other."""
    engine = race_engine(bench, bench.size(60_000, 10_000))
    _tell(bench, "engine", engine)
    chains = bench.size(5_000, 1_000)
    theirs = race_actors(bench, "redis", "route", chains)
    _tell(bench, "RedisBroker", theirs)
    ours = race_actors(bench, "stream", "route", chains)
    _tell(bench, "StreamBroker", ours)
    costs = f"worker {shown(engine.cost_us('worker'))}, Redis {shown(engine.cost_us('redis'))}"
    return [
        Figure(
            what="four hops, one worker process",
            value=engine.rate,
            unit="requests/s",
            at_least=10_000,
            beside=f"RedisBroker {shown(theirs.rate)}, StreamBroker {shown(ours.rate)}",
        ),
        Figure(
            what="… beside Dramatiq's RedisBroker",
            value=engine.rate / theirs.rate,
            unit="times",
            at_least=10,
            beside=f"StreamBroker {shown(ours.rate / theirs.rate)} times",
        ),
        Figure(
            what="… CPU of worker and Redis",
            value=engine.total_us,
            unit="µs/request",
            at_most=60,
            beside=f"{costs}; RedisBroker {shown(theirs.total_us)}",
        ),
    ]


def _tell(bench: Bench, name: str, race: Race) -> None:
    bench.say(
        f"{name}: {shown(race.rate)}/s, CPU µs: worker {shown(race.cost_us('worker'))}, "
        f"Redis {shown(race.cost_us('redis'))}; {race.commands / race.done:.1f} Redis commands"
    )
