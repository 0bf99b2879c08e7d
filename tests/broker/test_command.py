"""The broker under the real `dramatiq` command, ended in order and by force."""

import signal
import sys

import pytest
import redis

from pipeline.streams.broker import StreamBroker
from tests.broker.queues import KEYS, note, pending
from tests.processes import Spawn, Spawned
from tests.waiting import eventually

pytestmark = pytest.mark.crash


def start(spawn: Spawn, redis_url: str, threads: int = 1) -> Spawned:
    """Run the command and wait until it is ready."""
    arguments = ["-m", "dramatiq", "tests.broker.actors", "-p", "1", "-t", str(threads)]
    worker = spawn([sys.executable, *arguments], env={"BROKER_URL": redis_url}, name="dramatiq")
    worker.await_output("ready for action")
    return worker


def send(broker: StreamBroker, number: int, seconds: float = 0.0) -> None:
    broker.enqueue(note(number).copy(kwargs={"seconds": seconds}))


def marks(client: redis.Redis, list_name: str) -> list[int]:
    return [int(mark) for mark in client.lrange(list_name, 0, -1)]


def test_the_command_runs_actors_and_ends_in_order(
    broker: StreamBroker, client: redis.Redis, redis_url: str, spawn: Spawn
) -> None:
    worker = start(spawn, redis_url, threads=4)
    for number in range(50):
        send(broker, number)
    broker.enqueue(note(50), delay=300)
    broker.join("default", timeout=10_000)
    assert sorted(marks(client, "ended")) == list(range(51))
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert not list(client.scan_iter("test:queue-worker:*"))


def test_a_terminated_worker_ends_what_it_runs_and_puts_back_the_rest(
    broker: StreamBroker, client: redis.Redis, redis_url: str, spawn: Spawn
) -> None:
    for number in range(5):
        send(broker, number, seconds=2)
    worker = start(spawn, redis_url)
    eventually(lambda: marks(client, "began") == [0] and pending(client) == 2)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    done = marks(client, "ended")
    assert marks(client, "began") == done
    assert (pending(client), client.xlen(KEYS.stream)) == (0, 5 - len(done))


def test_another_worker_takes_over_from_one_that_was_killed(
    broker: StreamBroker, client: redis.Redis, redis_url: str, spawn: Spawn
) -> None:
    doomed = start(spawn, redis_url, threads=4)
    for number in range(6):
        send(broker, number, seconds=1.5)
    eventually(lambda: len(marks(client, "began")) == 4)
    doomed.signal_group(signal.SIGKILL)
    assert not marks(client, "ended")
    heir = start(spawn, redis_url, threads=8)
    broker.join("default", timeout=15_000)
    assert sorted(marks(client, "ended")) == list(range(6))
    heir.signal_group(signal.SIGKILL)


def test_a_worker_stopped_beyond_its_liveness_ends_nothing_that_was_claimed(
    broker: StreamBroker, client: redis.Redis, redis_url: str, spawn: Spawn
) -> None:
    stopped = start(spawn, redis_url)
    for number in range(2):
        send(broker, number, seconds=0.5)
    eventually(lambda: marks(client, "began") == [0] and pending(client) == 2)
    stopped.signal_group(signal.SIGSTOP)
    heir = start(spawn, redis_url)
    broker.join("default", timeout=15_000)
    stopped.signal_group(signal.SIGCONT)
    stopped.await_output("Settling was refused")
    stopped.await_output("was skipped")
    # The one that it ran went on; the one that it had only read did not begin.
    assert sorted(marks(client, "began")) == [0, 0, 1]
    assert (pending(client), client.xlen(KEYS.stream)) == (0, 0)
    for worker in (stopped, heir):
        worker.signal_group(signal.SIGKILL)
