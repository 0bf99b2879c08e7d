"""`sluice replay`: past events as new ones, at a pace, with a bar on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import redis
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.cli import looking
from pipeline.cli.durations import duration
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.cli.plain_table import plain_table, screen
from pipeline.errors import RedisUnavailable
from pipeline.names import MIN_PRIORITY
from pipeline.streams.past import replays
from pipeline.streams.past.replaying import BATCH, Replay
from pipeline.streams.past.replays import Asked, Progress
from pipeline.times import parse_time

#: Pause before looking again whether the waiting rooms have emptied.
_HELD_BACK_S: Final = 0.2

#: Batches a second of a replay with a rate: as smooth as it need be.
_BATCHES_A_SECOND: Final = 10

#: What a shell gives a command that Ctrl-C has ended.
_INTERRUPTED: Final = 130


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be replayed, and as what; the times as they were written."""

    since: str = ""
    until: str = ""
    model: str = ""
    tenant: str = ""
    status: str = ""
    to_model: str = ""
    shadow: bool = False
    priority: int = MIN_PRIORITY
    limit: int = 0

    def read(self, now: float) -> Asked:
        """Read the times. Raises `BadRequest`."""
        return Asked(
            since=parse_time(self.since, now),
            until=parse_time(self.until, now) if self.until else now,
            model=self.model,
            tenant=self.tenant,
            status=self.status,
            to_model=self.to_model,
            shadow=self.shadow,
            priority=self.priority,
            limit=self.limit,
        )


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How it is done."""

    #: The name of the replay that goes on.
    resume: str = ""
    #: Requests a second; 0: as fast as it goes.
    rate: float = 0.0
    dry_run: bool = False
    as_json: bool = False


def run(where: Where, wanted: Wanted, how: How) -> int:
    """Replay to the end and print what came of it; gives the exit code.

    Raises `BadRequest`, `ModelNotFound`, `RequestNotFound` and `RedisUnavailable`.
    """
    spot = find(where)
    if wanted.to_model:
        Catalog(spot.settings).candidates(wanted.to_model)
    with spot.client() as client:
        now = looking.follow_clock(client, spot.names)
        if how.resume:
            progress = replays.read(client, spot.names, how.resume)
        else:
            asked = wanted.read(now)
            progress = replays.begin(client, spot.names, asked, dry_run=how.dry_run)
        replay = Replay(client, spot.names, progress, spot.settings.gateway.default_model)
        if how.dry_run:
            replay.rehearse()
            _tell(replay.progress, how)
            return 0
        return _run(replay, how, max(1, spot.settings.gate.max_queue_size // 2))


def _run(replay: Replay, how: How, room: int) -> int:
    name = replay.progress.name
    print(f"replay {name}", file=sys.stderr, flush=True)
    rest = f"go on with: sluice replay --resume {name}"
    try:
        _go(replay, how.rate, room)
    except KeyboardInterrupt:
        print(f"sluice: interrupted after {replay.progress.replayed}; {rest}", file=sys.stderr)
        return _INTERRUPTED
    except redis.RedisError as error:
        raise RedisUnavailable(f"{error}; {rest}") from None
    _tell(replay.progress, how)
    return 0


def _go(replay: Replay, rate: float, room: int) -> None:
    """Step by step, no faster than the rate, and not while `room` events wait for capacity."""
    most = max(1, min(BATCH, int(rate / _BATCHES_A_SECOND))) if rate else BATCH
    due = clock.monotonic()
    with _bar() as show:
        show(replay.progress, "")
        more = not replay.progress.finished
        while more:
            while replay.is_held_back(room):
                show(replay.progress, "much waits for capacity")
                clock.sleep(_HELD_BACK_S)
            before = replay.progress.replayed
            more = replay.step(most)
            show(replay.progress, "")
            if rate and more:
                # What was held back is not made up for.
                due = max(due, clock.monotonic() - 1) + (replay.progress.replayed - before) / rate
                clock.sleep(max(0.0, due - clock.monotonic()))


class _Show:
    """Moves the bar."""

    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def __call__(self, progress: Progress, note: str) -> None:
        self._bar.update(
            self._task, completed=progress.share, replayed=progress.replayed, note=note
        )


@contextmanager
def _bar() -> Iterator[_Show]:
    """Show a bar on stderr, if that is a terminal."""
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[replayed]:,} replayed"),
        TimeElapsedColumn(),
        TextColumn("[yellow]{task.fields[note]}[/]"),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        yield _Show(bar, bar.add_task("", total=1.0, replayed=0, note=""))


def _tell(progress: Progress, how: How) -> None:
    if how.as_json:
        print(msgspec.json.encode(progress).decode())
        return
    did = "Would replay" if how.dry_run else "Replayed"
    print(f"{did} {progress.replayed:,} of {progress.matched:,} requests that were asked for.")
    left_out = (
        (progress.without_body, "have no body any more"),
        (progress.superseded, "have ended otherwise since, or are under way again"),
        (progress.repeated, "had been taken before"),
    )
    for count, why in left_out:
        if count:
            print(f"{count:,} {why}.")


def show(where: Where, *, as_json: bool) -> None:
    """Print the replays of late."""
    spot = find(where)
    found = _known(spot)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    left = ("replay", "state", "asked for")
    table = plain_table("replay", "state", "at", "replayed", "matched", "asked for", left=left)
    for progress in found:
        table.add_row(
            progress.name,
            _state(progress),
            f"{progress.share:.0%}",
            f"{progress.replayed:,}",
            f"{progress.matched:,}",
            escape(_said(progress.asked)),
        )
    screen().print(table if found else "no replay is known")


def _known(spot: Place) -> list[Progress]:
    with spot.client() as client:
        looking.follow_clock(client, spot.names)
        return replays.known(client, spot.names)


def _state(progress: Progress) -> str:
    at = progress.finished or progress.updated
    word = "finished" if progress.finished else "last step"
    return f"{word} {duration(max(0.0, clock.now() - at))} ago"


def _said(asked: Asked) -> str:
    """Say in the command's own words what was asked for."""
    facts = [
        ("since", _time(asked.since)),
        ("until", _time(asked.until)),
        ("model", asked.model),
        ("tenant", asked.tenant),
        ("status", asked.status),
        ("to-model", asked.to_model),
        ("limit", asked.limit),
    ]
    words = [f"{name} {fact}" for name, fact in facts if fact]
    return " ".join([*words, *(["shadow"] if asked.shadow else [])])


def _time(unix_s: float) -> str:
    return f"{clock.rfc3339(unix_s)[:19]}Z"
