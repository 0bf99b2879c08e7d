"""What `up`, `gateway` and `workers` write: their own words, and their children's lines."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_STYLES: Final = ("cyan", "green", "magenta", "yellow", "blue")


class Report:
    """One place to write to, for a terminal or a file. A reader that has gone is no error."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)
        self._names = list(names)
        self._width = max((len(name) for name in self._names), default=0)

    def line(self, name: str, text: str) -> None:
        """Pass on a line that a child has written, on stderr."""
        style = _STYLES[self._names.index(name) % len(_STYLES)] if name in self._names else ""
        prefix = Text(f"{name:<{self._width}} │ ", style=style)
        # Colours are kept where we have a terminal; other control sequences would move its cursor.
        with suppress(OSError):
            self._err.print(prefix + Text.from_ansi(text), soft_wrap=True)

    def note(self, text: str, style: str = "bold") -> None:
        """Say what has happened, on stderr."""
        with suppress(OSError):
            self._err.print(f"[{style}]sluice:[/] {escape(text)}", soft_wrap=True)

    def say(self, text: str = "") -> None:
        """Write a line of the command's own on stdout; square brackets are style."""
        with suppress(OSError):
            self._out.print(text, soft_wrap=True)

    def command(self, text: str) -> None:
        """Write a line on stdout that is to be copied as it is."""
        with suppress(OSError):
            self._out.print(f"  {text}", markup=False, soft_wrap=True)

    def table(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Show the parts with their addresses and pids."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for heading in ("part", "address", "pid"):
            table.add_column(heading, style="bold" if heading == "part" else "", no_wrap=True)
        for row in rows:
            table.add_row(*map(escape, row))
        with suppress(OSError):
            self._out.print(table)
