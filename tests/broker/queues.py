"""What the broker's tests look at in Redis, and the consumers that they drive by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import redis
from dramatiq.message import Message

from pipeline.streams.broker import StreamBroker
from pipeline.streams.queues.consumer import StreamConsumer
from pipeline.streams.queues.delivery import Delivery
from pipeline.streams.queues.keys import GROUP, QueueKeys
from tests.waiting import eventually

KEYS = QueueKeys("test", "default")


def note(number: int = 0, queue: str = "default") -> Message[None]:
    """Make a message that holds a number."""
    return Message(queue_name=queue, actor_name="note", args=(number,), kwargs={}, options={})


def dead_letters(client: redis.Redis, keys: QueueKeys = KEYS) -> list[dict[bytes, bytes]]:
    """List the fields of the dead letters of a queue."""
    return [cast("dict[bytes, bytes]", fields) for _, fields in client.xrange(keys.dead) or ()]


def pending(client: redis.Redis, keys: QueueKeys = KEYS) -> int:
    """Count the entries that consumers hold."""
    return int(client.xpending(keys.stream, GROUP)["pending"])


@contextmanager
def consuming(broker: StreamBroker, prefetch: int = 10) -> Iterator[StreamConsumer]:
    """Read the queue `default` by hand."""
    broker.declare_queue("default")
    consumer = broker.consume("default", prefetch=prefetch, timeout=50)
    try:
        yield consumer
    finally:
        consumer.close()


def take(consumer: StreamConsumer, timeout_s: float = 5.0) -> Delivery:
    """Read the next message, waiting for it."""
    delivery = eventually(lambda: next(consumer), timeout_s, "a message")
    assert delivery is not None
    return delivery


def number_of(delivery: Delivery) -> int:
    """Tell the number that `note` put into a message."""
    return int(delivery.args[0])
