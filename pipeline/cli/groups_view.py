"""How `sluice groups` and its commands tell what they found or did."""

import msgspec
from rich.markup import escape

from pipeline.cli import groups
from pipeline.cli.durations import duration
from pipeline.cli.groups import Group, Moved, counted
from pipeline.cli.options import Where
from pipeline.cli.place import find
from pipeline.cli.plain_table import plain_table, screen


def show(where: Where, *, as_json: bool) -> None:
    """Print all groups."""
    spot = find(where)
    with spot.client() as client:
        found = groups.read(client, spot)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    headings = ("stream", "group", "", "consumers", "pending", "unread", "oldest", "holds back")
    table = plain_table(*headings, left=("stream", "group", ""))
    for group in found:
        table.add_row(*_row(group))
    screen().print(table if found else "no group is there yet")


def _row(group: Group) -> list[str]:
    oldest = group.oldest_unread_s
    return [
        group.stream,
        escape(group.group),
        "[dim]Sluice's own[/]" if group.ours else "",
        str(group.consumers),
        f"{group.pending:,}",
        counted(group.unread),
        "" if oldest is None else duration(oldest),
        counted(group.holds_back) if group.holds_back else "",
    ]


def create(where: Where, stream: str, group: str, place: str, *, as_json: bool) -> None:
    """Make a group and tell what it has to read."""
    _tell(groups.create(where, stream, group, place), as_json=as_json)


def reset(where: Where, stream: str, group: str, place: str, *, as_json: bool) -> None:
    """Set from where a group reads on, and tell what that is."""
    _tell(groups.reset(where, stream, group, place), as_json=as_json)


def release(where: Where, stream: str, group: str, *, sure: bool, as_json: bool) -> None:
    """Destroy a group and tell what it held."""
    was = groups.release(where, stream, group, sure=sure)
    if as_json:
        print(msgspec.json.encode(was).decode())
        return
    print(
        f"{was.group} on {was.stream} is released: it had {counted(was.unread)} entries to read "
        f"and {was.pending:,} pending, and held back {counted(was.holds_back)}."
    )


def _tell(moved: Moved, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(moved).decode())
        return
    print(
        f"{moved.group} on {moved.stream} reads on after {moved.after}: "
        f"{counted(moved.unread)} entries."
    )
    if moved.pending:
        print(f"{moved.pending:,} stay pending with its consumers.")
