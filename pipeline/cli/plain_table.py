"""The table in which commands show what stands where: no lines, numbers to the right."""

from typing import Final

from rich.console import Console
from rich.table import Table

#: What rich takes for the width where no terminal and no COLUMNS tells it.
_UNTOLD: Final = 80
#: What we take then: nothing is cut for want of room.
_WIDE: Final = 200


def screen() -> Console:
    """Give what tables are printed on: as wide as the terminal, or wide enough."""
    console = Console(highlight=False)
    if not console.is_terminal and console.width == _UNTOLD:
        console.width = _WIDE
    return console


def plain_table(*headings: str, left: tuple[str, ...], wraps: tuple[str, ...] = ()) -> Table:
    """Make an empty table; columns that are not named in `left` hold numbers.

    Where the terminal is narrow, those in `wraps` take more lines before others are cut.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(
            heading,
            justify="left" if heading in left else "right",
            no_wrap=heading not in wraps,
            overflow="fold",
        )
    return table
