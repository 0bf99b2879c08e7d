"""The Dramatiq application: `dramatiq workers.app` runs the four hops.

The hops are actors, but none of Dramatiq's threads runs them: an engine on an event loop of its
own does, started, stopped and drained by Dramatiq's worker hooks.
"""

import asyncio
import gc
import inspect
import logging
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import dramatiq
import redis
import uvloop
from dramatiq.actor import Actor
from dramatiq.broker import Broker
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from pipeline.about import noted, said
from pipeline.errors import StartError
from pipeline.flow import BY_NAME, CALL, GATE, RESPOND, ROUTE
from pipeline.settings.children import part_name
from pipeline.settings.load import Settings, load
from pipeline.streams.broker import StreamBroker
from pipeline.telemetry.listening import handed_down, own
from pipeline.telemetry.logs import configure
from workers.call import call
from workers.gate import gate
from workers.process import START_S, HopFunctions, WorkerProcess
from workers.respond import respond
from workers.route import route

log = logging.getLogger(__name__)

T = TypeVar("T")


class HopBroker(StreamBroker):
    """A broker that knows the hops as actors, but gives them no queue that threads would read."""

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        """Declare an actor; a hop's stream is the engine's to read."""
        if actor.queue_name not in BY_NAME:
            super().declare_actor(actor)
            return
        self.emit_before("declare_actor", actor)
        self.actors[actor.actor_name] = actor
        self.emit_after("declare_actor", actor)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Enqueue a message for an actor that is not a hop."""
        if message.queue_name in BY_NAME:
            raise TypeError(
                f"`{message.actor_name}` is a hop: put requests in by HTTP, or XADD them to "
                "one of the request streams"
            )
        return super().enqueue(message, delay=delay)


class EngineLife(Middleware):
    """Ties the engine's life to that of Dramatiq's worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: WorkerProcess | None = None

    def after_process_boot(self, broker: Broker) -> None:  # noqa: ARG002 - Dramatiq's form
        """Log in our form from here on; a program that only imports the broker keeps its own."""
        configure(part_name("worker"), self._settings.telemetry)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002 - Dramatiq's form
        """Start the engine; end the process with one line when that is not possible."""
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="engine", daemon=True).start()
        try:
            self._process = self._run(self._begin(_functions(broker)), START_S)
        except (StartError, redis.RedisError, TimeoutError) as error:
            log.critical("Worker could not start", extra=noted(reason=said(error)))
        finally:
            if self._process is None:
                # Dramatiq would only log an exception, and go on with nothing to run.
                sys.exit(1)
        # What lives from now on is young or lives long; with the default thresholds the
        # collector walked thousands of streams many times a second.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002 - Dramatiq's form
        """Take nothing new."""
        if self._process:
            self._run(self._process.stop_reading(), START_S)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002 - Dramatiq's form
        """Finish what is under way."""
        if self._process:
            self._run(self._process.drain(), self._settings.workers.grace_s + START_S)

    async def _begin(self, functions: HopFunctions) -> WorkerProcess:
        scraped = handed_down() or own(self._settings.telemetry)
        process = WorkerProcess(self._settings, functions, scraped=scraped)
        await process.start()
        return process

    def _run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)


def _functions(broker: Broker) -> HopFunctions:
    """Reach the hops' own coroutines behind the actors, which Dramatiq wraps for its threads."""
    return {hop: inspect.unwrap(broker.actors[hop].fn) for hop in BY_NAME}


def _make_broker() -> HopBroker:
    try:
        settings = load()
    except StartError as error:
        sys.exit(f"sluice: {error}")
    return HopBroker(
        url=settings.redis.address,
        namespace=settings.redis.namespace,
        middleware=[EngineLife(settings)],
    )


broker = _make_broker()
dramatiq.set_broker(broker)

dramatiq.actor(queue_name=ROUTE, broker=broker)(route)
dramatiq.actor(queue_name=GATE, broker=broker)(gate)
dramatiq.actor(queue_name=CALL, broker=broker)(call)
dramatiq.actor(queue_name=RESPOND, broker=broker)(respond)
