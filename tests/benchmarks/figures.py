"""What a benchmark has found out: figures with their targets, and the tables that show them."""

from collections.abc import Sequence
from typing import Literal

import msgspec

Met = Literal["met", "NOT met", ""]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number; DESIGN.md's "What it must cost" has the targets."""

    what: str
    value: float
    unit: str
    #: The target, when less is better.
    at_most: float | None = None
    #: The target, when more is better.
    at_least: float | None = None
    #: The baseline of the same run, and what it is to this.
    beside: str = ""

    @property
    def measured(self) -> str:
        """Write the number with its unit."""
        return f"{shown(self.value)} {self.unit}"

    @property
    def target(self) -> str:
        """Write the target; empty: there is none."""
        if self.at_most is not None:
            return f"≤ {shown(self.at_most)} {self.unit}"
        if self.at_least is not None:
            return f"≥ {shown(self.at_least)} {self.unit}"
        return ""

    @property
    def met(self) -> Met:
        """Tell whether the target was met; empty: there is none."""
        if self.at_most is None and self.at_least is None:
            return ""
        below = self.at_most is None or self.value <= self.at_most
        above = self.at_least is None or self.value >= self.at_least
        return "met" if below and above else "NOT met"


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All that one run has found out."""

    machine: str
    quick: bool
    figures: dict[str, list[Figure]]


def shown(value: float) -> str:
    """Write a number with three figures that count, and whole from 100 on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"


def _rows(findings: Findings) -> list[Sequence[str]]:
    return [
        (name, figure.what, figure.measured, figure.beside, figure.target, figure.met)
        for name, figures in findings.figures.items()
        for figure in figures
    ]


def table(findings: Findings) -> str:
    """Draw the table for a terminal."""
    head = ("", "what", "measured", "beside", "target", "")
    rows = [head, *_rows(findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", _circumstances(findings)])


def markdown(findings: Findings) -> str:
    """Draw the table for the README."""
    head = ("benchmark", "what", "measured", "beside it", "target", "")
    rows = [head, ["---"] * len(head), *_rows(findings)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", _circumstances(findings)])


def _circumstances(findings: Findings) -> str:
    sizes = " Sizes of `--quick`: rough figures." if findings.quick else ""
    return f"Measured on {findings.machine}.{sizes}"
