"""What `up`, `gateway` and `workers` write: their own words, and their children's lines."""

import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline.about import Field, noted
from pipeline.cli.child import Part
from pipeline.errors import StartError
from pipeline.settings.load import Settings
from pipeline.telemetry.logs import is_line, wrapped

log = logging.getLogger(__name__)

_STYLES: Final = ("cyan", "green", "magenta", "yellow", "blue")
#: What a note's style says of its level, where notes are log lines.
_LEVELS: Final[Mapping[str, int]] = {"bold red": logging.WARNING}


class Report:
    """One place to write to, for a terminal or a file. A reader that has gone is no error.

    As JSON, stderr gets one object a line: the children's as they are, and ours as log lines.
    """

    def __init__(self, names: Iterable[str] = (), *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)
        self._names = list(names)
        self._width = max((len(name) for name in self._names), default=0)

    def line(self, name: str, text: str) -> None:
        """Pass on a line that a child has written, on stderr."""
        if self._as_json:
            _pass_on(name, text)
            return
        style = _STYLES[self._names.index(name) % len(_STYLES)] if name in self._names else ""
        prefix = Text(f"{name:<{self._width}} │ ", style=style)
        # Colours are kept where we have a terminal; other control sequences would move its cursor.
        with suppress(OSError):
            self._err.print(prefix + Text.from_ansi(text), soft_wrap=True)

    def note(self, text: str, style: str = "bold", *, event: str = "", **told: Field) -> None:
        """Say what has happened, on stderr; as a log line by its `event`, with fields."""
        if self._as_json:
            log.log(_LEVELS.get(style, logging.INFO), event or text, extra=noted(**told))
            return
        with suppress(OSError):
            self._err.print(f"[{style}]sluice:[/] {escape(text)}", soft_wrap=True)

    def waiting(self, text: str) -> None:
        """Say what is waited for."""
        self.note(f"waiting: {text}", "dim", event="Waiting went on", reason=text)

    def failed(self, why: str) -> int:
        """Say why the command ends; gives its exit code. Raises StartError for a human reader."""
        if not self._as_json:
            raise StartError(why)
        log.critical("Gave up", extra=noted(reason=why))
        return 1

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


def report_of(settings: Settings, parts: Iterable[Part]) -> Report:
    """Make the report of a command that runs these parts."""
    names = [part.name for part in parts]
    return Report(names, as_json=settings.telemetry.logs == "json")


def _pass_on(name: str, text: str) -> None:
    if text:
        with suppress(OSError):
            print(text if is_line(text) else wrapped(name, text), file=sys.stderr, flush=True)
