"""`sluice up`: the whole of Sluice on one machine, until Ctrl-C.

Everything that can be found wrong is found before anything is started. Redis starts first and
ends last; the children are a `crew`.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from pipeline.cli import parts, place, readiness, scraping
from pipeline.cli.billing import billing
from pipeline.cli.crew import Crew
from pipeline.cli.hangup import Duties, Hangup
from pipeline.cli.options import Where
from pipeline.cli.report import report_of
from pipeline.embedded.directory_lock import DirectoryLock
from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.errors import StartError
from pipeline.names import Names
from pipeline.settings.children import environment
from pipeline.settings.load import Settings
from pipeline.telemetry.logs import configure

#: New starts of our own Redis that may fail in a row.
_REDIS_STARTS: Final = 5
_REDIS_PAUSE_S: Final = 0.5


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be started."""

    where: Where
    settings: Settings
    #: Where our own Redis lives; None: Redis is another's.
    home: Path | None


def run(where: Where) -> int:
    """Start everything and keep it running; gives the exit code.

    Raises StartError and SettingsError when that cannot be, with one readable message.
    """
    settings = place.load_settings(where)
    configure("sluice", settings.telemetry)
    plan = Plan(where=where, settings=settings, home=None if settings.redis.is_set else place.HOME)
    try:
        with _terminated_like_interrupted(), ExitStack() as stack:
            sockets = _check(plan, stack)
            own = stack.enter_context(EmbeddedRedis(plan.home)) if plan.home else None
            stack.enter_context(_undisturbed())
            return asyncio.run(_Up(plan, own, sockets).run())
    except KeyboardInterrupt:
        return 0


class Sockets(msgspec.Struct, frozen=True, kw_only=True):
    """What is listened on, before anything is started."""

    gateway: socket.socket
    #: The one place to scrape, then one for each worker and gateway; none: there are no metrics.
    metrics: list[socket.socket]


def _check(plan: Plan, stack: ExitStack) -> Sockets:
    """Find out what would fail, before anything is started; gives the sockets that are needed."""
    gateway, simulate = plan.settings.gateway, plan.settings.simulate
    if plan.home:
        plan.home.mkdir(exist_ok=True)
        DirectoryLock(plan.home.resolve()).release()
    else:
        place.check_redis(plan.settings.redis.address)
    if plan.settings.needs_simulator:
        whose = "the simulated provider (simulate.port)"
        parts.listen(simulate.host, simulate.port, whose).close()
    count = 1 + plan.settings.workers.processes + gateway.processes
    return Sockets(
        gateway=stack.enter_context(
            parts.listen(gateway.host, gateway.port, "the gateway (--port)")
        ),
        metrics=stack.enter_context(scraping.listeners(plan.settings, count)),
    )


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, also before the event loop runs."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let nothing cut short what follows: Redis is ending in order."""
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


class _Up:
    """One run of `sluice up`, once Redis is there."""

    def __init__(self, plan: Plan, own: EmbeddedRedis | None, sockets: Sockets) -> None:
        self._listener = sockets.gateway
        self._metrics = sockets.metrics
        self._settings = plan.settings
        self._own = own
        self._home = plan.home
        self._redis_url = own.url if own else plan.settings.redis.address
        where = msgspec.structs.replace(plan.where, redis_url=self._redis_url)
        self._where = where if own else plan.where
        handed = environment(self._where.config, self._where.overrides())
        simulated = (
            [parts.simulator(plan.settings, handed)] if plan.settings.needs_simulator else []
        )
        workers = parts.workers(plan.settings, handed)
        gateways = parts.gateways(plan.settings, handed, self._listener)
        self._scraped = scraping.scraped([*workers, *gateways], self._metrics[1:])
        self._workers = self._scraped[: len(workers)]
        stages = [simulated, self._workers, self._scraped[len(workers) :]]
        self._report = report_of(plan.settings, [part for stage in stages for part in stage])
        self._crew = Crew(stages, self._report)
        self._crew.on_child_end = self._look_after_redis
        self._reviving: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Run until asked to stop; gives the exit code."""
        duties = Duties()
        hangup = Hangup(self._crew, self._where, duties)
        with (
            self._crew.watching({signal.SIGHUP: hangup.taken}),
            self._found_by_others(),
            scraping.one_place(self._metrics, self._scraped),
        ):
            self._greet()
            try:
                self._crew.start()
                self._show_parts()
                await self._become_ready()
                await self._crew.until_stopping()
                if not self._crew.failure:
                    self._report.note(
                        "stopping: gateway, workers, Redis (Ctrl-C again hurries)",
                        event="Stop was asked for",
                    )
            finally:
                self._listener.close()
                await self._crew.stop()
                await duties.end()
                if self._reviving:
                    await asyncio.gather(self._reviving, return_exceptions=True)
        return self._report.failed(self._crew.failure) if self._crew.failure else 0

    @contextmanager
    def _found_by_others(self) -> Iterator[None]:
        if self._home is None:
            yield
            return
        place.Up(pid=os.getpid(), redis_url=self._redis_url).write(self._home)
        try:
            yield
        finally:
            place.forget_up(self._home)

    def _greet(self) -> None:
        self._report.say(f"Sluice, configured by {self._settings.source}.")
        for line in billing(self._settings):
            self._report.say(line)
        for line in self._settings.left_out:
            self._report.say(f"[yellow]warning:[/] {line}")

    def _show_parts(self) -> None:
        redis_pid = str(self._own.pid) if self._own else "–"
        shown = place.shown(self._redis_url)
        rows = [("redis", shown, redis_pid)]
        rows += [
            (post.part.name, post.part.address or "–", str(post.child.pid))
            for post in self._crew.posts
            if post.child
        ]
        self._report.table(rows)

    async def _become_ready(self) -> None:
        crew, names = self._crew, Names(self._settings.redis.namespace)
        url = parts.gateway_url(self._settings)

        def ask() -> str:
            groups = {
                post.child.pid for post in crew.posts if post.part in self._workers and post.child
            }
            return readiness.workers_state(
                self._redis_url, names, groups
            ) or readiness.gateway_state(url)

        state = await readiness.until_ready(ask, self._report.waiting, lambda: crew.is_stopping)
        if crew.is_stopping:
            return
        if state:
            crew.give_up(f"not ready within {readiness.DEADLINE_S:g} s: {state}")
            return
        crew.was_ready = True
        self._invite(url)

    def _invite(self, url: str) -> None:
        model = self._settings.gateway.default_model
        body = (
            f'{{"model": "{model}", "stream": true, '
            '"messages": [{"role": "user", "content": "Hello"}]}'
        )
        header = "-H 'content-type: application/json'"
        if self._settings.tenants:
            header += " -H 'authorization: Bearer TOKEN'"
        self._report.say(
            f"\n[bold green]Sluice is ready:[/] {url}/v1 is the base URL for OpenAI clients."
        )
        self._report.say("Try:")
        self._report.command(f"curl -N {url}/v1/chat/completions {header} -d '{body}'")
        if self._metrics:
            self._report.say(f"Prometheus reads all metrics at {scraping.url_of(self._metrics[0])}")
        self._report.say("Ctrl-C stops it.")

    def _look_after_redis(self) -> None:
        lost = self._own and not self._own.alive and not self._reviving
        if lost and not self._crew.is_stopping:
            self._report.note(
                "redis ended; starting it again on its data", "bold red", event="Redis ended"
            )
            self._reviving = asyncio.create_task(self._revive(), name="revive redis")

    async def _revive(self) -> None:
        assert self._own is not None
        error = ""
        for _ in range(_REDIS_STARTS):
            try:
                await asyncio.to_thread(self._own.restart)
            except StartError as failed:
                error = failed.message
            else:
                self._reviving = None
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._crew.until_stopping(), _REDIS_PAUSE_S)
        self._crew.give_up(f"redis cannot be started again: {error}")
