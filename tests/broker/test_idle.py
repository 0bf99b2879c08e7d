"""An idle broker leaves Redis in peace, and still ends promptly."""

import time

import dramatiq
import redis

from pipeline.streams.broker import StreamBroker


def commands(client: redis.Redis) -> int:
    return int(client.info("stats")["total_commands_processed"])


def test_an_idle_worker_costs_a_few_operations_a_second(
    redis_url: str, client: redis.Redis
) -> None:
    broker = StreamBroker(url=redis_url, namespace="test")
    for queue in ("one", "two", "three"):
        broker.declare_queue(queue)
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=100)
    worker.start()
    time.sleep(0.5)
    before = commands(client)
    time.sleep(3)
    spent = commands(client) - before
    began = time.monotonic()
    worker.stop()
    broker.close()
    assert spent <= 3 * 3 * 3
    assert time.monotonic() - began < 2
