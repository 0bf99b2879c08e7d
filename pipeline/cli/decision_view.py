"""The decision of `sluice show`: candidates, who was left out and why, and each choice."""

from rich.console import Console
from rich.markup import escape

from pipeline.decision import Chosen, Decision


def show(console: Console, decision: Decision) -> None:
    """Print a decision below the hops."""
    alias = f", asked for as {decision.alias}" if decision.alias else ""
    few = "1 candidate" if decision.candidates == 1 else f"{decision.candidates} candidates"
    _line(console, "route", f"{few}, first {decision.first}{alias}")
    for left_out in decision.left_out:
        _line(console, "", f"left out: {left_out}")
    for companion in decision.also:
        _line(console, "also needs", companion)
    several = len(decision.chosen) > 1
    for number, chosen in enumerate(decision.chosen, 1):
        _choice(console, f"choice {number}" if several else "choice", chosen)


def _choice(console: Console, heading: str, chosen: Chosen) -> None:
    by = f" ({chosen.chosen_by})" if chosen.chosen_by else ""
    config = f", configuration {chosen.config}" if chosen.config else ""
    _line(console, heading, f"{chosen.deployment}{by}{config}")
    if chosen.scores:
        _line(console, "", f"scores: {chosen.scores}")
    if chosen.passed_over:
        _line(console, "", f"passed over: {chosen.passed_over}")


def _line(console: Console, heading: str, text: str) -> None:
    console.print(f"  [dim]{heading:<11}[/]{escape(text)}", soft_wrap=True)
