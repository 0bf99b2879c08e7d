"""The workers' application for `hops`: the real one, except that its call returns at once.

It reads nothing before the list `bench:go` has something, so that requests can be put in before.
"""

import dramatiq
import msgspec
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from pipeline.event import Event, Usage
from pipeline.flow import CALL, RESPOND
from pipeline.outcome import Forward, Outcome
from pipeline.settings.load import load
from pipeline.streams.connection import sync_client
from tests.benchmarks.ground import GO, WAITING
from workers.app import broker
from workers.call import Means

_ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"fast","choices":[{"index"'
    b':0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}]}'
)
_USAGE = Usage(prompt_tokens=9, completion_tokens=2, total_tokens=11)


async def call(event: Event, *, means: Means) -> Outcome:
    """Answer without calling anyone."""
    assert event.lease is not None
    answered = msgspec.structs.replace(
        event, attempts=event.attempts + 1, usage=_USAGE, finish_reason="stop"
    )
    return Forward(answered, RESPOND, {"deployment": event.lease.deployment}, _ANSWER)


class StartingShot(Middleware):
    """Holds the worker back until it may go."""

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Wait."""
        with sync_client(load().redis.address, block_s=60) as client:
            client.rpush(WAITING, "there")
            client.blpop([GO], timeout=60)


del broker.actors[CALL]
dramatiq.actor(queue_name=CALL, broker=broker)(call)
broker.add_middleware(StartingShot())
