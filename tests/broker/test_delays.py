"""Delayed messages wait in Redis, by its clock, in due order, and in no worker's memory."""

import time

import dramatiq
import redis
from dramatiq.common import current_millis

from pipeline.streams.broker import StreamBroker
from tests.broker.queues import KEYS, consuming, note, number_of, take
from tests.waiting import eventually


def test_a_delayed_message_is_not_delivered_early(
    broker: StreamBroker, worker: dramatiq.Worker
) -> None:
    ran_at: list[int] = []

    @dramatiq.actor
    def record() -> None:
        ran_at.append(current_millis())

    sent_at = current_millis()
    record.send_with_options(delay=400)
    broker.join(record.queue_name, timeout=5000)
    worker.join()
    assert 400 <= ran_at[0] - sent_at < 1500


def test_delays_do_not_hold_each_other_up(broker: StreamBroker) -> None:
    ran: list[int] = []

    @dramatiq.actor
    def append(number: int) -> None:
        ran.append(number)

    append.send_with_options(args=(1,), delay=600)
    append.send_with_options(args=(2,), delay=200)
    append.send_with_options(args=(3,), delay=400)
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()
    broker.join(append.queue_name, timeout=5000)
    worker.stop()
    assert ran == [2, 3, 1]


def test_messages_due_at_once_keep_the_order_in_which_they_were_sent(
    broker: StreamBroker, client: redis.Redis
) -> None:
    for number in range(30):
        broker.enqueue(note(number).copy(options={"eta": 4_000_000_000_000}))
    assert client.zcard(KEYS.delayed) == 30
    client.set(KEYS.clock, 3_000_000_000)
    with consuming(broker, prefetch=30) as consumer:
        deliveries = [take(consumer) for _ in range(30)]
        assert [number_of(delivery) for delivery in deliveries] == list(range(30))
        for delivery in deliveries:
            consumer.ack(delivery)


def test_a_short_delay_wakes_a_reader_that_would_sleep_longer(redis_url: str) -> None:
    broker = StreamBroker(url=redis_url, namespace="test", scan_s=30.0)
    with consuming(broker) as consumer:
        assert next(consumer) is None
        broker.enqueue(note(1), delay=20_000)
        assert next(consumer) is None
        began = time.monotonic()
        broker.enqueue(note(2), delay=200)
        consumer.ack(take(consumer))
        assert 0.2 <= time.monotonic() - began < 2
    broker.close()


def test_a_delay_may_be_longer_than_a_year(broker: StreamBroker, client: redis.Redis) -> None:
    year_ms = 400 * 86_400_000
    with consuming(broker) as consumer:
        sent = broker.enqueue(note(5), delay=year_ms)
        assert sent.options["eta"] - current_millis() > year_ms - 10_000
        assert next(consumer) is None
        client.set(KEYS.clock, 399 * 86_400)
        assert next(consumer) is None
        client.set(KEYS.clock, 401 * 86_400)
        delivery = take(consumer)
        assert "eta" not in delivery.options
        consumer.ack(delivery)


def test_a_delay_of_nothing_is_no_delay(broker: StreamBroker, client: redis.Redis) -> None:
    broker.enqueue(note(1), delay=0)
    broker.enqueue(note(2), delay=-5)
    broker.enqueue(note(3).copy(options={"eta": None}))
    broker.enqueue(note(4).copy(options={"eta": "tomorrow"}))
    assert client.zcard(KEYS.delayed) == 0
    with consuming(broker) as consumer:
        for number in (1, 2, 3, 4):
            delivery = take(consumer)
            assert number_of(delivery) == number
            consumer.ack(delivery)


def test_a_due_time_in_a_message_is_waited_for(broker: StreamBroker, client: redis.Redis) -> None:
    broker.enqueue(note(1).copy(options={"eta": current_millis() + 60_000}))
    assert client.zcard(KEYS.delayed) == 1
    broker.enqueue(note(2).copy(options={"eta": current_millis() - 1000}))
    with consuming(broker) as consumer:
        delivery = take(consumer)
        assert number_of(delivery) == 2
        consumer.ack(delivery)
        assert next(consumer) is None


def test_a_message_for_dramatiqs_delay_queue_goes_to_the_queue_itself(
    broker: StreamBroker,
) -> None:
    with consuming(broker) as consumer:
        assert broker.get_declared_delay_queues() == set()
        broker.enqueue(note(1, queue="default.DQ"))
        delivery = take(consumer)
        assert delivery.queue_name == "default"
        consumer.ack(delivery)


def test_workers_hold_no_delayed_messages(
    broker: StreamBroker, worker: dramatiq.Worker, client: redis.Redis
) -> None:
    @dramatiq.actor
    def never() -> None:
        raise AssertionError

    for _ in range(50):
        never.send_with_options(delay=60_000)
    eventually(lambda: client.xlen(KEYS.stream) == 0)
    assert client.zcard(KEYS.delayed) == 50
    assert all(thread.delay_queue.empty() for thread in worker.consumers.values())
    worker.stop()
    assert client.zcard(KEYS.delayed) == 50


def test_a_thousand_messages_due_together_all_come(
    broker: StreamBroker, client: redis.Redis
) -> None:
    for number in range(1200):
        broker.enqueue(note(number), delay=60_000)
    client.set(KEYS.clock, 61)
    with consuming(broker, prefetch=100) as consumer:
        for number in range(1200):
            delivery = take(consumer)
            assert number_of(delivery) == number
            consumer.ack(delivery)
    broker.join("default", timeout=1000)
