"""What dead workers held is claimed; what living ones hold never is."""

import logging
import time

import dramatiq
import pytest
import redis

from pipeline.streams.broker import StreamBroker
from pipeline.streams.queues.keys import GROUP, MESSAGE_FIELD
from tests.broker.queues import KEYS, consuming, dead_letters, note, number_of, pending, take
from tests.waiting import eventually


def leave_behind(client: redis.Redis, count: int, name: str = "gone") -> None:
    """Send messages and have a consumer read them before anyone else can, which never lived."""
    with client.pipeline() as step:
        for number in range(count):
            step.xadd(KEYS.stream, {MESSAGE_FIELD: note(number).encode()})
        step.xreadgroup(GROUP, name, {KEYS.stream: ">"}, count=count)
        step.execute()


def consumers(client: redis.Redis) -> set[bytes]:
    return {row["name"] for row in client.xinfo_consumers(KEYS.stream, GROUP)}


def test_what_a_dead_worker_held_is_claimed_though_the_queue_is_idle(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker) as consumer:
        assert next(consumer) is None
        leave_behind(client, 3)
        for number in range(3):
            delivery = take(consumer)
            assert number_of(delivery) == number
            consumer.ack(delivery)
        eventually(lambda: next(consumer) is None and b"gone" not in consumers(client))


def test_what_a_living_worker_holds_is_not_claimed_however_slow_it_is(
    broker: StreamBroker, redis_url: str, client: redis.Redis
) -> None:
    other = StreamBroker(url=redis_url, namespace="test", liveness_s=1.0, scan_s=0.1)
    with consuming(broker) as slow, consuming(other) as idle:
        broker.enqueue(note())
        delivery = eventually(lambda: next(slow))
        assert delivery is not None
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            assert next(idle) is None
        slow.ack(delivery)
    other.close()
    assert client.xlen(KEYS.stream) == 0


def test_an_orphan_behind_a_thousand_live_entries_is_found(
    broker: StreamBroker, client: redis.Redis
) -> None:
    broker.declare_queue("default")
    with consuming(broker, prefetch=1) as consumer:
        leave_behind(client, 1000, "busy")
        client.set("test:queue-worker:busy", 1)
        leave_behind(client, 1, "gone")
        consumer.ack(take(consumer))
        assert next(consumer) is None
        assert pending(client) == 1000


def test_claims_stay_within_the_prefetch_and_go_on_as_room_comes(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker, prefetch=4) as consumer:
        leave_behind(client, 50)
        for number in range(50):
            delivery = take(consumer)
            assert number_of(delivery) == number
            # Each claim takes what there is room for, and no end of an entry is waited for.
            consumer.ack(delivery)
            eventually(lambda: held(client, broker) <= 4)


def held(client: redis.Redis, broker: StreamBroker) -> int:
    return len(client.xpending_range(KEYS.stream, GROUP, "-", "+", 100, broker_name(broker)))


def broker_name(broker: StreamBroker) -> str:
    assert broker._session is not None
    return broker._session.liveness.name


def test_a_message_whose_workers_keep_dying_is_a_dead_letter_unrun(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker) as consumer:
        leave_behind(client, 1, "first")
        for number in range(4):
            (entry,) = client.xpending_range(KEYS.stream, GROUP, "-", "+", 1)
            client.xclaim(KEYS.stream, GROUP, f"next-{number}", 0, [entry["message_id"]])
        assert eventually(lambda: next(consumer) is None and dead_letters(client))
        (letter,) = dead_letters(client)
        assert letter[b"deliveries"] == b"5"
        assert letter[b"reason"].startswith(b"poison")
        assert client.xlen(KEYS.stream) == 0


def test_what_was_read_by_a_lost_reply_is_read_again(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker) as consumer:
        assert next(consumer) is None
        broker.enqueue(note())
        held = take(consumer)
        leave_behind(client, 2, broker_name(broker))
    with consuming(broker, prefetch=1) as anew:
        anew.ack(held)
        for number in range(2):
            delivery = take(anew)
            assert number_of(delivery) == number
            assert next(anew) is None
            anew.ack(delivery)
    eventually(lambda: client.xlen(KEYS.stream) == 0)


def test_the_late_end_of_a_claimed_message_is_refused(
    broker: StreamBroker, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with consuming(broker) as consumer:
        for number in range(3):
            broker.enqueue(note(number))
        acked, nacked, put_back = (take(consumer) for _ in range(3))
        ids = [delivery.entry_id for delivery in (acked, nacked, put_back)]
        client.set("test:queue-worker:thief", 1)
        client.xclaim(KEYS.stream, GROUP, "thief", 0, [*ids])
        with caplog.at_level(logging.WARNING):
            consumer.ack(acked)
            consumer.nack(nacked)
            consumer.requeue([put_back])
        assert (pending(client), client.xlen(KEYS.stream)) == (3, 3)
        assert not dead_letters(client)
        assert "Settling was refused" in caplog.text


def test_a_worker_that_was_paused_does_not_begin_what_others_have_claimed(
    broker: StreamBroker, client: redis.Redis
) -> None:
    runs: list[int] = []

    @dramatiq.actor(actor_name="note")
    def count(number: int) -> None:
        runs.append(number)

    with consuming(broker) as consumer:
        for number in range(2):
            broker.enqueue(note(number))
        lost, kept = take(consumer), take(consumer)
        client.delete(f"test:queue-worker:{broker_name(broker)}")
        client.xclaim(KEYS.stream, GROUP, "other", 0, [lost.entry_id])
        session = broker._session
        assert session is not None
        eventually(lambda: session.liveness.may_have_lapsed_since(lost.read_at))
        with pytest.raises(dramatiq.middleware.SkipMessage):
            broker.emit_before("process_message", lost)
        broker.emit_before("process_message", kept)
        consumer.ack(kept)


def test_a_message_that_comes_back_to_the_worker_that_runs_it_is_not_run_beside_itself(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker) as consumer:
        broker.enqueue(note(4))
        delivery = take(consumer)
        client.xclaim(KEYS.stream, GROUP, "other", 0, [delivery.entry_id])
        eventually(lambda: next(consumer) is None and b"other" not in consumers(client))
        assert pending(client) == 1
        consumer.ack(delivery)
        eventually(lambda: client.xlen(KEYS.stream) == 0)


def test_closing_leaves_what_is_held_to_others_at_once(
    broker: StreamBroker, redis_url: str
) -> None:
    leaver = StreamBroker(url=redis_url, namespace="test", liveness_s=600.0)
    broker.declare_queue("default")
    leaver.declare_queue("default")
    consumer = leaver.consume("default", timeout=50)
    leaver.enqueue(note(8))
    assert number_of(take(consumer)) == 8
    consumer.close()
    leaver.close()
    with consuming(broker) as other:
        delivery = take(other)
        assert number_of(delivery) == 8
        other.ack(delivery)


def test_a_worker_that_others_have_forgotten_reads_on(redis_url: str, client: redis.Redis) -> None:
    broker = StreamBroker(url=redis_url, namespace="test", scan_s=30.0)
    with consuming(broker) as consumer:
        assert next(consumer) is None
        client.xgroup_delconsumer(KEYS.stream, GROUP, broker_name(broker))
        broker.enqueue(note(6))
        delivery = take(consumer)
        assert number_of(delivery) == 6
        consumer.ack(delivery)
    broker.join("default", timeout=1000)
    broker.close()
