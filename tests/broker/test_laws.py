"""No message is lost and none ends twice, whatever becomes of it on its way."""

import random
from collections import Counter

import redis
from dramatiq.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.streams.broker import StreamBroker
from pipeline.streams.queues.consumer import StreamConsumer
from pipeline.streams.queues.delivery import Delivery
from tests.broker.queues import consuming, dead_letters, note, number_of

Step = tuple[str, int]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "delay", "read", "ack", "nack", "requeue", "retry", "restart"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


class Journey:
    """Carries out steps on a queue and keeps account of what ought to be."""

    def __init__(self, broker: StreamBroker, consumer: StreamConsumer) -> None:
        self.broker = broker
        self.consumer = consumer
        self.sent = 0
        self.held: list[Delivery] = []
        self.acked: Counter[int] = Counter()
        self.nacked: Counter[int] = Counter()

    def take(self, step: Step) -> None:
        what, number = step
        if what in ("send", "delay"):
            self.broker.enqueue(note(self.sent), delay=number if what == "delay" else None)
            self.sent += 1
        elif what == "read":
            self.read()
        elif what == "restart":
            self.restart()
        elif self.held:
            self.end(self.held.pop(number % len(self.held)), what)

    def read(self) -> bool:
        delivery = next(self.consumer)
        if delivery:
            self.held.append(delivery)
        return delivery is not None

    def restart(self) -> None:
        self.consumer.close()
        self.consumer = self.broker.consume("default", prefetch=3, timeout=20)

    def end(self, delivery: Delivery, how: str) -> None:
        if how == "requeue":
            self.consumer.requeue([delivery])
            return
        if how == "retry":
            delivery.options["retries"] = delivery.options.get("retries", 0) + 1
            self.broker.enqueue(delivery, delay=random.randrange(20))  # type: ignore[arg-type]
        elif how == "ack":
            self.acked[number_of(delivery)] += 1
        if how == "nack":
            self.nacked[number_of(delivery)] += 1
            self.consumer.nack(delivery)
        else:
            self.consumer.ack(delivery)

    def finish(self) -> None:
        """End everything that is left with an acknowledgement."""
        for _ in range(10_000):
            while self.held:
                self.end(self.held.pop(), "ack")
            if not self.read() and not self.broker.queue_size("default"):
                return
        raise AssertionError("the queue never became empty")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_each_message_ends_exactly_once(
    broker: StreamBroker, client: redis.Redis, steps: list[Step]
) -> None:
    client.flushall()
    with consuming(broker, prefetch=3) as consumer:
        journey = Journey(broker, consumer)
        for step in steps:
            journey.take(step)
        journey.finish()
        journey.consumer.close()
    letters = Counter(
        int(Message.decode(letter[b"message"]).args[0]) for letter in dead_letters(client)
    )
    assert letters == journey.nacked
    assert journey.acked + journey.nacked == Counter(range(journey.sent))
