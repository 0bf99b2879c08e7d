"""Dramatiq's own middleware, composition and rate limiters on the broker, unchanged."""

import asyncio
import threading
import time

import dramatiq
import pytest
from dramatiq.middleware import AsyncIO, CurrentMessage, GroupCallbacks
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import RedisBackend as RateLimits
from dramatiq.results import ResultFailure, Results
from dramatiq.results.backends import RedisBackend as ResultStore

from pipeline.streams.broker import StreamBroker
from tests.waiting import eventually


@pytest.fixture
def results(broker: StreamBroker, redis_url: str) -> ResultStore:
    store = ResultStore(url=redis_url)
    broker.add_middleware(Results(backend=store))  # type: ignore[no-untyped-call]
    return store


def test_results_are_stored_and_failures_too(
    broker: StreamBroker, results: ResultStore, worker: dramatiq.Worker
) -> None:
    @dramatiq.actor(store_results=True, max_retries=0)
    def divide(one: int, other: int) -> float:
        return one / other

    assert divide.send(6, 3).get_result(backend=results, block=True) == 2
    with pytest.raises(ResultFailure, match="ZeroDivisionError"):
        divide.send(1, 0).get_result(backend=results, block=True)


def test_a_pipeline_hands_results_on_also_with_a_delay(
    broker: StreamBroker, results: ResultStore, worker: dramatiq.Worker
) -> None:
    @dramatiq.actor(store_results=True)
    def add(one: int, other: int) -> int:
        return one + other

    slow = add.message_with_options(args=(3,), delay=100)
    last = add.message_with_options(args=(4,))
    pipe = (add.message(1, 2) | slow | last).run()
    assert pipe.get_result(block=True, timeout=5000) == 10
    assert list(pipe.get_results()) == [3, 6, 10]


def test_a_group_gathers_results_and_calls_back_once(
    broker: StreamBroker, results: ResultStore, redis_url: str
) -> None:
    broker.add_middleware(GroupCallbacks(RateLimits(url=redis_url)))
    called: list[str] = []

    @dramatiq.actor(store_results=True)
    def square(number: int) -> int:
        return number * number

    @dramatiq.actor
    def finish(word: str) -> None:
        called.append(word)

    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=4)
    worker.start()
    group = dramatiq.group(square.message(number) for number in range(10))  # type: ignore[no-untyped-call]
    group.add_completion_callback(finish.message("done"))  # type: ignore[no-untyped-call]
    group.run()  # type: ignore[no-untyped-call]
    squares = list(group.get_results(block=True, timeout=5000))  # type: ignore[no-untyped-call]
    assert squares == [number * number for number in range(10)]
    broker.join("default", timeout=5000)
    worker.stop()
    assert called == ["done"]


def test_a_rate_limiter_admits_one_at_a_time(
    broker: StreamBroker, worker: dramatiq.Worker, redis_url: str
) -> None:
    limiter = ConcurrentRateLimiter(RateLimits(url=redis_url), "one", limit=1)  # type: ignore[no-untyped-call]
    running, most, done = 0, 0, 0
    lock = threading.Lock()

    @dramatiq.actor(min_backoff=10, max_backoff=30, max_retries=200)
    def work() -> None:
        nonlocal running, most, done
        with limiter.acquire():
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            with lock:
                running -= 1
                done += 1

    for _ in range(6):
        work.send()
    broker.join(work.queue_name, timeout=15_000)
    worker.join()
    assert (done, most) == (6, 1)


def test_callbacks_follow_success_and_failure(
    broker: StreamBroker, worker: dramatiq.Worker
) -> None:
    told: list[object] = []

    @dramatiq.actor
    def on_end(data: object, detail: object) -> None:
        told.append(detail)

    @dramatiq.actor(max_retries=0)
    def halve(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number // 2

    halve.send_with_options(args=(4,), on_success=on_end)
    halve.send_with_options(args=(5,), on_failure=on_end)
    broker.join("default", timeout=5000)
    worker.join()
    assert 2 in told
    assert {"type": "ValueError", "message": "odd"} in told


def test_a_message_over_its_age_is_not_run(broker: StreamBroker, worker: dramatiq.Worker) -> None:
    runs: list[int] = []

    @dramatiq.actor(max_age=100)
    def hurry() -> None:
        runs.append(1)

    hurry.send_with_options(delay=250)
    broker.join(hurry.queue_name, timeout=5000)
    worker.join()
    assert not runs


def test_an_actor_over_its_time_is_interrupted(redis_url: str) -> None:
    limit = dramatiq.middleware.TimeLimit(interval=20)
    broker = StreamBroker(url=redis_url, namespace="test", middleware=[limit])
    limit.after_process_boot(broker)  # type: ignore[no-untyped-call]
    interrupted = threading.Event()

    @dramatiq.actor(broker=broker, time_limit=50)
    def dawdle() -> None:
        try:
            for _ in range(500):
                time.sleep(0.01)
        except dramatiq.middleware.TimeLimitExceeded:
            interrupted.set()

    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()
    dawdle.send()
    assert interrupted.wait(5)
    worker.stop()
    broker.close()


def test_async_actors_run_and_know_their_message(broker: StreamBroker) -> None:
    broker.add_middleware(AsyncIO())
    broker.add_middleware(CurrentMessage())
    seen: list[object] = []

    @dramatiq.actor
    async def work(number: int) -> None:
        await asyncio.sleep(0.01)
        seen.append(number)

    @dramatiq.actor
    def tell() -> None:
        message = CurrentMessage.get_current_message()
        seen.append(message and message.actor_name)

    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
    worker.start()
    work.send(1)
    tell.send()
    broker.join("default", timeout=5000)
    worker.stop()
    assert set(seen) == {1, "tell"}


def test_a_queue_declared_at_run_time_is_consumed(
    broker: StreamBroker, worker: dramatiq.Worker
) -> None:
    ran = threading.Event()

    @dramatiq.actor(queue_name="late")
    def arrive() -> None:
        ran.set()

    assert "late" in broker.get_declared_queues()
    arrive.send()
    assert ran.wait(5)


def test_queues_are_served_by_the_priority_of_their_actors(broker: StreamBroker) -> None:
    ran: list[str] = []
    may_go = threading.Event()

    @dramatiq.actor(queue_name="gate", priority=0)
    def wait() -> None:
        may_go.wait(5)

    @dramatiq.actor(queue_name="slow", priority=100)
    def later() -> None:
        ran.append("later")

    @dramatiq.actor(queue_name="fast", priority=1)
    def sooner() -> None:
        ran.append("sooner")

    wait.send()
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()
    eventually(lambda: worker.work_queue.unfinished_tasks == 1)
    for actor in (later, sooner):
        for _ in range(2):
            actor.send()
    eventually(lambda: worker.work_queue.unfinished_tasks == 5)
    may_go.set()
    for queue in ("fast", "slow"):
        broker.join(queue, timeout=5000)
    worker.stop()
    assert ran == ["sooner", "sooner", "later", "later"]


def test_a_worker_reads_only_the_queues_it_is_told(broker: StreamBroker) -> None:
    ran: list[str] = []

    @dramatiq.actor(queue_name="mine")
    def mine() -> None:
        ran.append("mine")

    @dramatiq.actor(queue_name="yours")
    def yours() -> None:
        ran.append("yours")

    mine.send()
    yours.send()
    worker = dramatiq.Worker(broker, queues={"mine"}, worker_timeout=100, worker_threads=1)
    worker.start()
    broker.join("mine", timeout=5000)
    worker.stop()
    assert (ran, broker.queue_size("yours")) == (["mine"], 1)


def test_a_paused_worker_takes_nothing_and_resumes(
    broker: StreamBroker, worker: dramatiq.Worker
) -> None:
    runs: list[int] = []

    @dramatiq.actor
    def count() -> None:
        runs.append(1)

    worker.pause()
    count.send()
    time.sleep(0.3)
    assert not runs
    worker.resume()
    broker.join(count.queue_name, timeout=10_000)
    worker.join()
    assert runs == [1]
