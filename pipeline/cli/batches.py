"""Something done to many requests: batch by batch, at a pace, with a bar, ended by Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipeline import clock
from pipeline.cli.place import Place
from pipeline.errors import RedisUnavailable
from pipeline.streams.link import Link, LinkError

T = TypeVar("T")

#: How the commands end.
DONE, FAILED, NOTHING, INTERRUPTED = 0, 1, 3, 130

#: Batches a second of what has a rate: as smooth as it need be.
_BATCHES_A_SECOND: Final = 10


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How something is done to many requests or letters."""

    dry_run: bool = False
    #: So many a second; 0: as fast as it goes.
    rate: float = 0.0
    #: Whether nobody is asked before.
    sure: bool = False
    as_json: bool = False


def complain(text: str) -> None:
    """Say on stderr what could not be done."""
    print(f"sluice: {text}", file=sys.stderr)


class Bar:
    """How far a command has come, on stderr; nothing where that is no terminal."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, count: int) -> None:
        """Go on."""
        self._bars.advance(self._task, count)


@contextmanager
def bar(total: int, doing: str) -> Iterator[Bar]:
    """Show a bar while something is done to so many."""
    console = Console(stderr=True)
    bars = Bars(
        *(TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # What is printed meanwhile would come to stderr, too.
        redirect_stdout=sys.stdout.isatty(),
    )
    with bars:
        yield Bar(bars, bars.add_task(doing, total=total))


@asynccontextmanager
async def linked(spot: Place) -> AsyncIterator[Link]:
    """Open a link; any error of the connection becomes RedisUnavailable, with the address."""
    link = Link(spot.redis_url, name="sluice-cli")
    try:
        await link.open()
        yield link
    except (LinkError, TimeoutError, OSError, RedisUnavailable) as error:
        raise RedisUnavailable(f"Redis at {spot.shown_url}: {error}") from None
    finally:
        await link.close()


class Pace:
    """When the next batch may go: at a rate, and not after Ctrl-C."""

    def __init__(self, rate: float, most: int) -> None:
        #: How many go at once.
        self.size = max(1, min(most, int(rate / _BATCHES_A_SECOND))) if rate else most
        self._rate = rate
        self._begun = clock.monotonic()
        self.stopped = asyncio.Event()

    async def wait_for(self, number: int) -> bool:
        """Wait until an item's turn comes, by its number; tells whether to go on at all."""
        if self._rate:
            await self.pause(self._begun + number / self._rate - clock.monotonic())
        return not self.stopped.is_set()

    async def pause(self, seconds: float) -> None:
        """Wait, unless Ctrl-C comes."""
        with suppress(TimeoutError):
            if seconds > 0:
                await asyncio.wait_for(self.stopped.wait(), seconds)


async def each(
    items: list[T], pace: Pace, do: Callable[[list[T]], Awaitable[None]], doing: str
) -> bool:
    """Do something to every item; tells whether it came to the end."""
    with _stopping(pace.stopped), bar(len(items), doing) as shown:
        for at in range(0, len(items), pace.size):
            if not await pace.wait_for(at):
                return False
            batch = items[at : at + pace.size]
            await do(batch)
            shown.advance(len(batch))
    return True


@contextmanager
def _stopping(stopped: asyncio.Event) -> Iterator[None]:
    """Let the first Ctrl-C end the work after its batch; the second ends the command at once."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        stopped.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, end)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
