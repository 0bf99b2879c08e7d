"""`sluice gateway`, `sluice workers` and `sluice simulate`: single parts, on many machines."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.cli import parts, place, readiness, scraping
from pipeline.cli.child import Child
from pipeline.cli.crew import Crew
from pipeline.cli.hangup import Duties, Hangup
from pipeline.cli.options import Where
from pipeline.cli.report import report_of
from pipeline.settings.children import environment
from pipeline.telemetry.logs import configure

#: Tells what a child still lacks until it works; empty: nothing.
State = Callable[[Child], str]


def _nothing() -> None:
    return


def gateway(where: Where) -> int:
    """Run the gateway's processes until they are asked to stop; gives the exit code."""
    spot = place.find(where)
    settings = spot.settings
    configure("sluice", settings.telemetry)
    place.check_redis(spot.redis_url)
    handed = environment(where.config, {**where.overrides(), "redis.url": spot.redis_url})
    url = parts.gateway_url(settings)
    processes = settings.gateway.processes
    with (
        parts.listen(settings.gateway.host, settings.gateway.port, "the gateway") as listener,
        # A single one tells its metrics on its own port; behind a shared one any of them answers.
        scraping.listeners(settings, processes if processes > 1 else 0) as metrics,
    ):
        crew_parts = scraping.scraped(parts.gateways(settings, handed, listener), metrics)
        crew = Crew([crew_parts], report_of(settings, crew_parts))
        at = spot.where(where)
        return _run(crew, at, lambda _child: readiness.gateway_state(url), listener.close)


def workers(where: Where) -> int:
    """Run the worker processes until they are asked to stop; SIGUSR2 restarts them."""
    spot = place.find(where)
    configure("sluice", spot.settings.telemetry)
    place.check_redis(spot.redis_url)
    handed = environment(where.config, {**where.overrides(), "redis.url": spot.redis_url})

    def state(child: Child) -> str:
        return readiness.workers_state(spot.redis_url, spot.names, {child.pid})

    with scraping.listeners(spot.settings, spot.settings.workers.processes) as metrics:
        crew_parts = scraping.scraped(parts.workers(spot.settings, handed), metrics)
        crew = Crew([crew_parts], report_of(spot.settings, crew_parts))
        return _run(crew, spot.where(where), state)


def simulate(where: Where, host: str, port: int, extra: Sequence[str]) -> None:
    """Become the simulated provider; a port below 0 and an empty host are as configured."""
    configured = place.load_settings(where).simulate
    chosen = configured.port if port < 0 else port
    address = ("--host", host or configured.host, "--port", str(chosen))
    arguments = (*parts.simulator_command(), *address, *extra)
    os.execv(arguments[0], arguments)  # noqa: S606 - no shell is wanted


def _run(crew: Crew, where: Where, state: State, before_stop: Callable[[], None] = _nothing) -> int:
    asyncio.run(_supervise(crew, where, state, before_stop))
    return crew.report.failed(crew.failure) if crew.failure else 0


async def _supervise(
    crew: Crew, where: Where, state: State, before_stop: Callable[[], None]
) -> None:
    duties = Duties()
    hangup = Hangup(crew, where, duties)

    def restart() -> None:
        duties.begin("restart", partial(crew.restart, partial(_until_settled, crew, state)))

    with crew.watching({signal.SIGHUP: hangup.taken, signal.SIGUSR2: restart}):
        try:
            crew.start()
            duties.begin("first settling", partial(_all_settled, crew, state))
            await crew.until_stopping()
        finally:
            before_stop()
            await crew.stop()
            await duties.end()


async def _all_settled(crew: Crew, state: State) -> None:
    for post in crew.posts:
        if post.child:
            await _until_settled(crew, state, post.child)
    if not crew.is_stopping:
        crew.was_ready = True
        names = ", ".join(post.part.name for post in crew.posts)
        crew.report.note(f"ready: {names}", event="Parts became ready", parts=names)


async def _until_settled(crew: Crew, state: State, child: Child) -> None:
    await readiness.until_ready(
        lambda: state(child),
        crew.report.waiting,
        lambda: crew.is_stopping or child.poll() is not None,
    )
