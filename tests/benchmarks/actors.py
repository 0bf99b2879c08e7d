"""The baseline: four actors in a chain, and one that does nothing, on any broker of Dramatiq.

`python -m tests.benchmarks.actors redis|stream URL` runs them in a `dramatiq.Worker` of 8
threads, from when the list `bench:go` has something; `bench:marks` tells when so many have ended.
"""

import itertools
import signal
import sys
from collections.abc import Callable
from typing import Final, Literal

import dramatiq
from dramatiq.broker import Broker
from dramatiq.brokers.redis import RedisBroker

from pipeline.streams.broker import StreamBroker
from pipeline.streams.connection import sync_client
from tests.benchmarks.ground import GO, WAITING

Kind = Literal["redis", "stream"]

MARKS, MILESTONES = "bench:marks", "bench:milestones"
THREADS: Final = 8


def make_broker(kind: Kind, url: str) -> Broker:
    """Make a broker with Dramatiq's standard middleware."""
    if kind == "redis":
        return RedisBroker(url=url)  # type: ignore[no-untyped-call]
    return StreamBroker(url=url)


def declare(broker: Broker, ended: Callable[[], None]) -> dict[str, dramatiq.Actor[..., None]]:
    """Declare the actors, each with a queue of its own; `ended` is called at a chain's end."""

    def respond(body: str) -> None:
        ended()

    def call(body: str) -> None:
        actors["respond"].send(body)

    def gate(body: str) -> None:
        actors["call"].send(body)

    def route(body: str) -> None:
        actors["gate"].send(body)

    def noop(body: str) -> None:
        ended()

    actors = {
        function.__name__: dramatiq.actor(queue_name=function.__name__, broker=broker)(function)
        for function in (route, gate, call, respond, noop)
    }
    return actors


def main(kind: Kind, url: str) -> None:
    """Run the actors until SIGTERM."""
    broker, client = make_broker(kind, url), sync_client(url, block_s=60)
    count = itertools.count(1)
    milestones: set[int] = set()

    def ended() -> None:
        if (number := next(count)) in milestones:
            client.rpush(MARKS, number)

    dramatiq.set_broker(broker)
    declare(broker, ended)
    worker = dramatiq.Worker(broker, worker_threads=THREADS)
    client.rpush(WAITING, "there")
    client.blpop([GO], timeout=60)
    milestones |= {int(number) for number in client.lrange(MILESTONES, 0, -1)}
    over = [signal.SIGTERM, signal.SIGINT]
    signal.pthread_sigmask(signal.SIG_BLOCK, over)
    worker.start()
    signal.sigwait(over)
    worker.stop()
    broker.close()
    client.close()


if __name__ == "__main__":
    main("redis" if sys.argv[1] == "redis" else "stream", sys.argv[2])
