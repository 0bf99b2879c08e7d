"""Sending, running, failing, flushing and joining, as any Dramatiq broker owes it."""

import threading

import dramatiq
import pytest
import redis
from dramatiq.common import current_millis
from dramatiq.errors import ActorNotFound, ConnectionClosed, QueueJoinTimeout, QueueNotFound
from dramatiq.message import Message

from pipeline.embedded.redis_server import free_port
from pipeline.streams.broker import StreamBroker
from pipeline.streams.queues.keys import QueueKeys
from tests.broker.queues import KEYS, consuming, dead_letters, note, number_of, pending, take
from tests.waiting import eventually


def test_every_message_sent_is_run(broker: StreamBroker, worker: dramatiq.Worker) -> None:
    database: dict[str, int] = {}

    @dramatiq.actor
    def put(key: str, value: int) -> None:
        database[key] = value

    for number in range(100):
        put.send(f"key-{number}", number)
    broker.join(put.queue_name, timeout=10_000)
    worker.join()
    assert database == {f"key-{number}": number for number in range(100)}


def test_messages_of_a_queue_are_read_in_the_order_sent(broker: StreamBroker) -> None:
    with consuming(broker, prefetch=3) as consumer:
        for number in range(9):
            broker.enqueue(note(number))
        seen = []
        for _ in range(9):
            delivery = take(consumer)
            seen.append(number_of(delivery))
            consumer.ack(delivery)
    assert seen == list(range(9))


def test_a_message_keeps_its_options_and_gets_none_of_ours(broker: StreamBroker) -> None:
    sent = note().copy(options={"max_age": 60_000, "trace": "a"})
    with consuming(broker) as consumer:
        assert broker.enqueue(sent) == sent
        delivery = take(consumer)
        assert delivery.options == {"max_age": 60_000, "trace": "a"}
        assert delivery == sent
        consumer.ack(delivery)


def test_the_same_message_sent_twice_is_two_messages(broker: StreamBroker) -> None:
    message = note(7)
    with consuming(broker) as consumer:
        broker.enqueue(message)
        broker.enqueue(message)
        for delivery in (take(consumer), take(consumer)):
            assert delivery.message_id == message.message_id
            consumer.ack(delivery)
    broker.join("default", timeout=1000)


def test_a_failed_message_is_retried_after_its_backoff(
    broker: StreamBroker, worker: dramatiq.Worker
) -> None:
    runs: list[int] = []

    @dramatiq.actor(min_backoff=300, max_backoff=1000, max_retries=1)
    def fail_once() -> None:
        runs.append(current_millis())
        if len(runs) == 1:
            raise RuntimeError("the first time")

    fail_once.send()
    broker.join(fail_once.queue_name, timeout=10_000)
    worker.join()
    assert len(runs) == 2
    assert 300 <= runs[1] - runs[0] < 2500


def test_a_message_may_be_retried_many_times(broker: StreamBroker, worker: dramatiq.Worker) -> None:
    retries: list[int] = []

    @dramatiq.actor(min_backoff=20, max_backoff=20)
    def fail_thrice() -> None:
        message = dramatiq.middleware.CurrentMessage.get_current_message()
        assert message is not None
        retries.append(message.options.get("retries", 0))
        if len(retries) < 4:
            raise RuntimeError("again")

    broker.add_middleware(dramatiq.middleware.CurrentMessage())
    fail_thrice.send()
    broker.join(fail_thrice.queue_name, timeout=10_000)
    worker.join()
    assert retries == [0, 1, 2, 3]


def test_a_retry_is_sent_only_together_with_the_acknowledgement(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker) as consumer:
        broker.enqueue(note())
        delivery = take(consumer)
        delivery.options["retries"] = 1
        broker.enqueue(delivery, delay=60_000)  # type: ignore[arg-type]
        assert client.zcard(KEYS.delayed) == 0
        consumer.ack(delivery)
        eventually(lambda: client.zcard(KEYS.delayed) == 1)
        assert client.xlen(KEYS.stream) == 0


def test_sending_a_message_in_hand_anew_is_not_taken_for_a_retry(broker: StreamBroker) -> None:
    with consuming(broker) as consumer:
        broker.enqueue(note(3))
        delivery = take(consumer)
        broker.enqueue(delivery)  # type: ignore[arg-type]
        again = take(consumer)
        assert number_of(again) == 3
        consumer.ack(delivery)
        consumer.ack(again)


def test_a_message_that_failed_for_good_is_a_dead_letter(
    broker: StreamBroker, worker: dramatiq.Worker, client: redis.Redis
) -> None:
    @dramatiq.actor(max_retries=0)
    def fail(word: str) -> None:
        raise RuntimeError(word)

    sent = fail.send("broken")
    broker.join(fail.queue_name, timeout=10_000)
    worker.join()
    (letter,) = dead_letters(client)
    assert Message.decode(letter[b"message"]) == sent
    assert b"broken" in letter[b"reason"]


def test_dead_letters_are_dropped_after_their_time(redis_url: str, client: redis.Redis) -> None:
    broker = StreamBroker(url=redis_url, namespace="test", dead_message_ttl=60_000, scan_s=0.05)
    with consuming(broker) as consumer:
        for number in range(3):
            broker.enqueue(note(number))
            consumer.nack(take(consumer))
        eventually(lambda: len(dead_letters(client)) == 3)
        client.set(KEYS.clock, 61)
        broker.enqueue(note())
        consumer.nack(take(consumer))
        eventually(lambda: len(dead_letters(client)) == 1)
        client.set(KEYS.clock, 130)
        # Without any further dead letter the look after the queue drops them, now and then.
        eventually(lambda: next(consumer) is None and not dead_letters(client))
    broker.close()


def test_a_message_for_an_unknown_actor_is_a_dead_letter(
    broker: StreamBroker, worker: dramatiq.Worker, client: redis.Redis
) -> None:
    broker.declare_queue("strange")
    sent = broker.enqueue(note(queue="strange"))
    broker.join("strange", timeout=10_000)
    worker.join()
    (letter,) = dead_letters(client, QueueKeys("test", "strange"))
    assert Message.decode(letter[b"message"]) == sent
    assert ActorNotFound.__name__.encode() in letter[b"reason"]


def test_messages_not_begun_are_put_back_in_order_when_the_worker_stops(
    broker: StreamBroker, client: redis.Redis
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    @dramatiq.actor
    def note(number: int) -> None:
        begun.set()
        may_end.wait(10)

    for number in range(3):
        note.send(number)
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()
    assert begun.wait(5)
    eventually(lambda: pending(client) == 2)
    threading.Timer(0.1, may_end.set).start()
    worker.stop()
    assert pending(client) == 0
    with consuming(broker) as consumer:
        assert [number_of(take(consumer)), number_of(take(consumer))] == [1, 2]


def test_what_was_read_and_not_handed_out_is_put_back_on_close(
    broker: StreamBroker, client: redis.Redis
) -> None:
    for number in range(4):
        broker.enqueue(note(number))
    with consuming(broker) as consumer:
        first = take(consumer)
        assert pending(client) == 4
        consumer.requeue([first])
    assert (pending(client), client.xlen(KEYS.stream)) == (0, 4)


def test_a_consumer_holds_no_more_than_its_prefetch(
    broker: StreamBroker, client: redis.Redis
) -> None:
    for number in range(10):
        broker.enqueue(note(number))
    with consuming(broker, prefetch=3) as consumer:
        held = [take(consumer) for _ in range(3)]
        assert next(consumer) is None
        assert pending(client) == 3
        consumer.ack(held[0])
        assert number_of(take(consumer)) == 3
        eventually(lambda: pending(client) == 3)


def test_joining_a_busy_queue_may_time_out(broker: StreamBroker, worker: dramatiq.Worker) -> None:
    may_end = threading.Event()

    @dramatiq.actor
    def wait() -> None:
        may_end.wait(10)

    wait.send()
    with pytest.raises(QueueJoinTimeout):
        broker.join(wait.queue_name, timeout=200)
    may_end.set()
    broker.join(wait.queue_name, interval=10, timeout=5000)


def test_a_delayed_message_counts_from_when_it_is_sent_until_it_is_done(
    broker: StreamBroker, worker: dramatiq.Worker
) -> None:
    sizes: list[int] = []

    @dramatiq.actor
    def first() -> None:
        second.send_with_options(delay=50)
        sizes.append(broker.queue_size("default"))

    @dramatiq.actor
    def second() -> None:
        sizes.append(broker.queue_size("default"))

    first.send()
    broker.join("default", timeout=5000)
    worker.join()
    # The entry that wakes a reader for `second` may be there when `first` looks.
    assert sizes[0] in (2, 3)
    assert sizes[1] in (1, 2)


def test_flushing_drops_what_is_ready_and_what_is_delayed(broker: StreamBroker) -> None:
    for queue in ("default", "other"):
        broker.declare_queue(queue)
        broker.enqueue(note(queue=queue))
        broker.enqueue(note(queue=queue), delay=60_000)
    broker.flush("default")
    assert (broker.queue_size("default"), broker.queue_size("other")) == (0, 2)
    broker.flush_all()
    for queue in ("default", "other"):
        broker.join(queue, timeout=200)


def test_nothing_follows_from_a_message_that_was_flushed_while_it_ran(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker) as consumer:
        for number in range(3):
            broker.enqueue(note(number))
        acked, nacked, put_back = (take(consumer) for _ in range(3))
        broker.flush("default")
        broker.join("default", timeout=200)
        consumer.ack(acked)
        consumer.nack(nacked)
        consumer.requeue([put_back])
        assert (broker.queue_size("default"), pending(client)) == (0, 0)
        assert not dead_letters(client)
        broker.enqueue(note(9))
        assert number_of(take(consumer)) == 9


def test_a_client_may_be_given(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as given:
        broker = StreamBroker(client=given, namespace="test")
        assert broker.client is given
        with consuming(broker) as consumer:
            broker.enqueue(note(1))
            consumer.ack(take(consumer))
        broker.join("default", timeout=1000)
        broker.close()
        assert given.ping()


def test_a_client_that_decodes_replies_is_refused(redis_url: str) -> None:
    given = redis.Redis.from_url(redis_url, decode_responses=True)
    with given, pytest.raises(ValueError, match="decode_responses"):
        StreamBroker(client=given)


def test_an_unknown_option_or_attribute_is_an_error(broker: StreamBroker) -> None:
    with pytest.raises(TypeError):
        StreamBroker(heartbeat_timeout=1000)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        broker.idontexist  # type: ignore[attr-defined]  # noqa: B018 - the access is the test


def test_settling_a_message_that_was_never_read_is_ignored(broker: StreamBroker) -> None:
    with consuming(broker) as consumer:
        for end in (consumer.ack, consumer.nack):
            end(dramatiq.MessageProxy(note()))
        consumer.requeue([dramatiq.MessageProxy(note())])
        broker.enqueue(note())
        delivery = take(consumer)
        consumer.ack(delivery)
        consumer.ack(delivery)
        consumer.nack(delivery)
    broker.join("default", timeout=1000)


def test_an_undeclared_queue_cannot_be_read(broker: StreamBroker) -> None:
    with pytest.raises(QueueNotFound):
        broker.consume("never-declared")
    with pytest.raises(ValueError, match="colon"):
        broker.declare_queue("requests:default")


def test_without_redis_sending_and_reading_fail_as_dramatiq_expects() -> None:
    broker = StreamBroker(url=f"redis://127.0.0.1:{free_port()}/0")
    broker.declare_queue("default")
    for attempt in (lambda: broker.enqueue(note()), lambda: broker.consume("default")):
        with pytest.raises(ConnectionClosed):
            attempt()
    broker.close()
