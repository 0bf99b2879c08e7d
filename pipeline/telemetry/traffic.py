"""How a process talks to Redis, of workers and gateways alike."""

from collections.abc import Iterator

from pipeline.telemetry import metrics
from pipeline.telemetry.tallies import Family, single


def traffic(commands: int, round_trips: int, reconnects: int) -> Iterator[Family]:
    """Give the families of what has gone over a process's link."""
    yield single(metrics.REDIS_COMMANDS, commands)
    yield single(metrics.REDIS_ROUND_TRIPS, round_trips)
    yield single(metrics.REDIS_RECONNECTS, reconnects)
