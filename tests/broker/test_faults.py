"""Malformed entries, a Redis that forgets, ends, fills up or falls silent."""

import signal
import threading
import time
from collections.abc import Iterator

import dramatiq
import pytest
import redis
from dramatiq.errors import ConnectionClosed

from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.streams.broker import StreamBroker
from pipeline.streams.connection import sync_client
from pipeline.streams.queues.keys import GROUP, MESSAGE_FIELD
from tests.broker.queues import KEYS, consuming, dead_letters, note, number_of, pending, take
from tests.waiting import eventually


@pytest.fixture
def own_broker(own_redis: EmbeddedRedis) -> Iterator[StreamBroker]:
    """Make a broker on a server that the test may kill."""
    made = StreamBroker(url=own_redis.url, namespace="test", liveness_s=1.0, scan_s=0.2)
    yield made
    made.close()


@pytest.mark.parametrize(
    "fields",
    [
        {b"event": b"{}"},
        {MESSAGE_FIELD: b"no json"},
        {MESSAGE_FIELD: b"[]"},
        {MESSAGE_FIELD: b'{"queue_name": "default"}'},
        {
            MESSAGE_FIELD: b'{"queue_name": "default", "actor_name": "note", "args": [], '
            b'"kwargs": {}, "options": null, "message_id": "1", "message_timestamp": 1}'
        },
        {f"field-{number}".encode(): b"x" for number in range(6000)},
    ],
    ids=["stranger", "text", "list", "incomplete", "mistyped", "huge"],
)
def test_what_is_no_message_is_a_dead_letter_and_stops_nobody(
    broker: StreamBroker, client: redis.Redis, fields: dict[bytes, bytes]
) -> None:
    words = [word for pair in fields.items() for word in pair]
    client.execute_command("XADD", KEYS.stream, "*", *words)  # type: ignore[no-untyped-call]
    broker.enqueue(note(1))
    with consuming(broker) as consumer:
        delivery = take(consumer)
        assert number_of(delivery) == 1
        consumer.ack(delivery)
    broker.join("default", timeout=1000)
    (letter,) = dead_letters(client)
    assert letter[b"reason"].startswith(b"malformed")
    key, value = next(iter(fields.items()))
    assert letter[key] == value


def test_a_message_under_a_foreign_queue_name_runs_where_it_was_found(
    broker: StreamBroker, worker: dramatiq.Worker, client: redis.Redis
) -> None:
    ran = threading.Event()

    @dramatiq.actor(actor_name="note")
    def run(number: int) -> None:
        ran.set()

    client.xadd(KEYS.stream, {MESSAGE_FIELD: note(queue="elsewhere").encode()})
    assert ran.wait(5)
    broker.join("default", timeout=5000)


@pytest.mark.parametrize("loss", ["flushall", "delete", "destroy"])
def test_a_lost_group_is_made_anew(broker: StreamBroker, client: redis.Redis, loss: str) -> None:
    with consuming(broker) as consumer:
        assert next(consumer) is None
        if loss == "flushall":
            client.flushall()
        elif loss == "delete":
            client.delete(KEYS.stream)
        else:
            client.xgroup_destroy(KEYS.stream, GROUP)
        for number in range(3):
            broker.enqueue(note(number))
            delivery = take(consumer)
            assert number_of(delivery) == number
            consumer.ack(delivery)
    broker.join("default", timeout=1000)


def test_what_is_in_hand_when_everything_is_flushed_harms_nothing(
    broker: StreamBroker, client: redis.Redis
) -> None:
    with consuming(broker) as consumer:
        for number in range(3):
            broker.enqueue(note(number))
        acked, nacked, put_back = (take(consumer) for _ in range(3))
        client.flushall()
        consumer.ack(acked)
        consumer.nack(nacked)
        consumer.requeue([put_back])
        broker.enqueue(note(7), delay=50)
        delivery = take(consumer)
        assert number_of(delivery) == 7
        consumer.ack(delivery)
    assert not dead_letters(client)


def test_forgotten_scripts_are_loaded_again(broker: StreamBroker, client: redis.Redis) -> None:
    with consuming(broker) as consumer:
        for number in range(3):
            client.script_flush()
            broker.enqueue(note(number), delay=20)
            client.script_flush()
            consumer.ack(take(consumer))
    broker.join("default", timeout=1000)


@pytest.mark.slow
def test_acknowledgements_outlive_lost_connections(
    broker: StreamBroker, worker: dramatiq.Worker, client: redis.Redis
) -> None:
    runs: list[int] = []

    @dramatiq.actor(max_retries=0, actor_name="note")
    def count(number: int) -> None:
        runs.append(number)
        if number % 2:
            raise RuntimeError("odd")

    client.xgroup_create(KEYS.stream, GROUP, id="0", mkstream=True)
    for number in range(200):
        client.xadd(KEYS.stream, {MESSAGE_FIELD: note(number).encode()})
    broker.declare_queue("default")
    while len(runs) < 200:
        client.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.01)
    eventually(lambda: client.xlen(KEYS.stream) == 0)
    worker.join()
    assert sorted(runs) == list(range(200))
    assert len(dead_letters(client)) == 100


def test_a_restarted_redis_loses_nothing_and_nothing_runs_twice(
    own_redis: EmbeddedRedis, own_broker: StreamBroker
) -> None:
    # While a disk is slow to sync, `everysec` answers before it has written.
    with redis.Redis(port=own_redis.port) as client:
        client.config_set("appendfsync", "always")
    began: list[int] = []
    may_end = threading.Event()

    @dramatiq.actor(broker=own_broker, actor_name="note", min_backoff=100, max_backoff=100)
    def wait(number: int) -> None:
        began.append(number)
        may_end.wait(30)
        if number == 1 and began.count(1) == 1:
            raise RuntimeError("to be retried though Redis is away")

    for number in range(8):
        own_broker.enqueue(note(number))
    worker = dramatiq.Worker(own_broker, worker_timeout=100, worker_threads=4)
    worker.start()
    eventually(lambda: len(began) == 4)
    # Longer than the liveness, so that no worker's key is left.
    own_redis.kill()
    may_end.set()
    time.sleep(1.5)
    own_redis.start()
    own_broker.join("default", timeout=20_000)
    worker.stop()
    assert sorted(began) == [0, 1, 1, 2, 3, 4, 5, 6, 7]


def test_a_redis_that_falls_silent_is_noticed(
    own_redis: EmbeddedRedis, own_broker: StreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.streams.queues.reader.OVERDUE_S", 0.3)
    with consuming(own_broker) as consumer:
        assert next(consumer) is None
        pid = own_redis.pid
        assert pid is not None
        own_redis_signal(own_redis, signal.SIGSTOP)
        with pytest.raises(ConnectionClosed):
            eventually(lambda: next(consumer))
        own_redis_signal(own_redis, signal.SIGCONT)


def own_redis_signal(server: EmbeddedRedis, number: signal.Signals) -> None:
    assert server._server is not None
    server._server.send_signal(number)


def test_a_full_redis_refuses_new_messages_and_drains(
    own_redis: EmbeddedRedis, own_broker: StreamBroker
) -> None:
    with sync_client(own_redis.url) as client, consuming(own_broker) as consumer:
        for number in range(4):
            own_broker.enqueue(note(number))
        own_broker.enqueue(note(4), delay=300)
        acked, nacked, retried, put_back = (take(consumer) for _ in range(4))
        client.config_set("maxmemory", 1)
        for delay in (None, 5):
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                own_broker.enqueue(note(), delay=delay)
        retried.options["retries"] = 1
        own_broker.enqueue(retried, delay=10)  # type: ignore[arg-type]
        for end, delivery in ((consumer.ack, acked), (consumer.ack, retried)):
            end(delivery)
        consumer.nack(nacked)
        consumer.requeue([put_back])
        assert len(dead_letters(client)) == 1
        seen = set()
        for _ in range(3):
            delivery = take(consumer)
            seen.add(number_of(delivery))
            consumer.ack(delivery)
        assert seen == {2, 3, 4}
        eventually(lambda: pending(client) == 0)
        assert own_broker.queue_size("default") == 0
