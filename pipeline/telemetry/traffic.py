"""How a process talks to Redis and to a collector of traces, of workers and gateways alike."""

from collections.abc import Iterator

from pipeline.telemetry import metrics
from pipeline.telemetry.tallies import Family, single


def traffic(commands: int, round_trips: int, reconnects: int) -> Iterator[Family]:
    """Give the families of what has gone over a process's link."""
    yield single(metrics.REDIS_COMMANDS, commands)
    yield single(metrics.REDIS_ROUND_TRIPS, round_trips)
    yield single(metrics.REDIS_RECONNECTS, reconnects)


def exported(sent: int, lost: int) -> Iterator[Family]:
    """Give the families of the spans that a collector took, and of those that none did."""
    yield single(metrics.TRACES_EXPORTED, sent)
    yield single(metrics.TRACES_DROPPED, lost)
