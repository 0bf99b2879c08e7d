"""Messages that do nothing: StreamBroker beside Dramatiq's RedisBroker, 8 threads each."""

from tests.benchmarks.actors import Kind
from tests.benchmarks.chains import Race, race_actors
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench


def run(bench: Bench) -> list[Figure]:
    """Race the two brokers, one after the other."""
    theirs = _race(bench, "redis")
    ours = _race(bench, "stream")
    return [
        Figure(
            what="no-op messages on StreamBroker",
            value=ours.rate,
            unit="messages/s",
            beside=f"RedisBroker {shown(theirs.rate)}: {shown(ours.rate / theirs.rate)} times",
        ),
        Figure(
            what="… CPU of worker and Redis",
            value=ours.total_us,
            unit="µs/message",
            beside=f"RedisBroker {shown(theirs.total_us)}",
        ),
    ]


def _race(bench: Bench, kind: Kind) -> Race:
    race = race_actors(bench, kind, "noop", bench.size(20_000, 3_000))
    bench.say(
        f"{kind}: {shown(race.rate)}/s, CPU µs: worker {shown(race.cost_us('worker'))}, "
        f"Redis {shown(race.cost_us('redis'))}"
    )
    return race
