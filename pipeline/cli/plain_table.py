"""The table in which commands show what stands where: no lines, numbers to the right."""

from rich.table import Table


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
