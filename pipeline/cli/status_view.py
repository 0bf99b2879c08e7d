"""How `sluice status` looks in a terminal."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pipeline import clock
from pipeline.cli import limits_view
from pipeline.cli.durations import duration, rung_name
from pipeline.cli.options import Where
from pipeline.cli.place import find
from pipeline.cli.plain_table import plain_table, screen
from pipeline.cli.status import MAX_COUNTED, Status, Stream, read
from pipeline.streams.rungs import Rung


def run(where: Where, *, watch_s: float, as_json: bool) -> None:
    """Print the status once, or again and again until Ctrl-C."""
    spot = find(where)
    with spot.client() as client:
        if not watch_s:
            _print(read(client, spot), as_json=as_json)
            return
        with suppress(KeyboardInterrupt):
            _watch(lambda: read(client, spot), watch_s, as_json=as_json)


def _watch(look: Callable[[], Status], watch_s: float, *, as_json: bool) -> None:
    if as_json:
        while True:
            _print(look(), as_json=True)
            clock.sleep(watch_s)
    with Live(view(look()), auto_refresh=False, screen=True) as live:
        while True:
            clock.sleep(watch_s)
            live.update(view(look()), refresh=True)


def _print(status: Status, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(status).decode(), flush=True)
    else:
        screen().print(view(status))


def view(status: Status) -> RenderableType:
    """Lay a status out for a terminal."""
    return Group(*_lines(status))


def _lines(status: Status) -> Iterator[RenderableType]:
    memory = status.memory
    limit = f" of {_size(memory.max_bytes)}" if memory.max_bytes else ""
    yield (
        f"[bold]Redis[/] {status.redis_version} at {escape(status.redis_url)}, "
        f"{_size(memory.used_bytes)}{limit}"
    )
    if memory.policy not in ("", "noeviction"):
        yield f"[red]maxmemory-policy is {memory.policy}: accepted requests may be lost[/]"
    yield ""
    yield _streams(status.streams)
    for stream in status.streams:
        if stream.held_back_by:
            yield (
                f"[yellow]group {escape(stream.held_back_by)} alone keeps {stream.name} longer "
                "than the retention allows[/]"
            )
    yield ""
    yield _living(status)
    counters = "  ".join(f"{name} {count}" for name, count in status.counters.items())
    waiting = status.waiting
    oldest = f", oldest {duration(waiting.oldest_s)}" if waiting.oldest_s else ""
    yield f"\n[bold]waiting:[/] {waiting.count}{oldest}"
    yield from _ladder(status.ladder)
    yield from limits_view.lines(status.limits)
    yield f"\n[bold]dead letters[/] {status.dead_letters}"
    yield f"[bold]counters[/] {counters}"


def _ladder(rungs: list[Rung]) -> Iterator[RenderableType]:
    if not rungs:
        yield "[bold]ladder:[/] nobody waits on it"
        return
    yield f"[bold]ladder:[/] {sum(rung.count for rung in rungs):,}"
    table = plain_table("rung", "events", "next due", "oldest", left=())
    for rung in rungs:
        due = f"in {duration(rung.next_due_s)}" if rung.next_due_s else "[yellow]overdue[/]"
        table.add_row(rung_name(rung.rung), f"{rung.count:,}", due, duration(rung.oldest_s))
    yield table


def _streams(streams: list[Stream]) -> Table:
    table = plain_table(
        "stream",
        "length",
        "oldest",
        "group",
        "unread",
        "pending",
        "since",
        left=("stream", "group"),
    )
    for stream in streams:
        head = [stream.name, str(stream.length), _ago(stream.oldest_s)]
        for group in stream.groups:
            waiting = f"{group.waiting:,}{'+' if group.waiting >= MAX_COUNTED else ''}"
            age = _ago(group.oldest_pending_s)
            table.add_row(*head, escape(group.name), waiting, str(group.pending), age)
            head = ["", "", ""]
        if not stream.groups:
            table.add_row(*head)
    return table


def _living(status: Status) -> Table:
    table = plain_table("process", "pid", "since", "running", left=("process", "running"))
    for worker in status.workers:
        running = ", ".join(f"{hop} {count}" for hop, count in worker.running.items()) or "idle"
        since = _ago(clock.now() - worker.started) if worker.started else ""
        table.add_row(f"worker {escape(worker.name)}", str(worker.pid or ""), since, running)
    for gateway in status.gateways:
        table.add_row(f"gateway {escape(gateway.name)}", "", "", "")
    if not status.workers:
        table.add_row("[red]no worker is alive[/]")
    if not status.gateways:
        table.add_row("[yellow]no gateway is alive[/]")
    return table


def _ago(age_s: float | None) -> str:
    return "" if age_s is None else duration(age_s)


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
