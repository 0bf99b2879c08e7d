"""The command `sluice` itself: its commands, and how it ends when one of them cannot go on."""

import os
import sys

import typer

from pipeline.cli import (
    commands_data,
    commands_dead,
    commands_import,
    commands_ladder,
    commands_limits,
    commands_replay,
    commands_run,
)
from pipeline.errors import SluiceError

app = typer.Typer(
    name="sluice",
    help="An event-driven pipeline for LLM requests: each accepted request is answered.",
    epilog="A first try: `sluice up` in one terminal, `sluice send Hello` in another.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands_run.register(app)
commands_data.register(app)
commands_limits.register(app)
commands_ladder.register(app)
commands_dead.register(app)
commands_replay.register(app)
commands_import.register(app)


def main() -> None:
    """Run the command; what goes wrong is one line on stderr and exit code 1, misuse is 2."""
    try:
        app()
    except SluiceError as error:
        print(f"sluice: {error.message}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
