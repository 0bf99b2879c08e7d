"""What SIGHUP does to a `sluice` process: the same as `sluice reload`, where it runs."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from pipeline.cli import reload
from pipeline.cli.crew import Crew
from pipeline.cli.options import Where
from pipeline.cli.reload_view import lines
from pipeline.errors import SluiceError


class Duties:
    """What a supervisor does beside, one of each name at a time."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        """Begin a duty, unless it is under way."""
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(_done(duty), name=name)

    async def end(self) -> None:
        """Wait for all of them."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def _done(duty: Callable[[], Awaitable[None]]) -> None:
    await duty()


class Hangup:
    """Takes SIGHUP for a crew."""

    def __init__(self, crew: Crew, where: Where, duties: Duties) -> None:
        self._crew = crew
        self._where = where
        self._duties = duties
        self._had_terminal = sys.stderr.isatty()

    def taken(self) -> None:
        """Reload; but stop where it comes of a terminal that was closed."""
        if self._had_terminal and not sys.stderr.isatty():
            self._crew.ask_to_stop()
        else:
            self._duties.begin("reload", self._reload)

    async def _reload(self) -> None:
        report = self._crew.report
        try:
            reloaded = await asyncio.to_thread(reload.reload, self._where)
        except SluiceError as error:
            report.note(
                f"the configuration is as it was: {error.message}",
                "bold red",
                event="Configuration was refused",
                reason=error.message,
            )
            return
        for line in lines(reloaded):
            report.note(line, event="Configuration was reloaded", told=line)
