"""The command about other systems' configurations: what `--help` says of it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.options import AsJson


def register(app: typer.Typer) -> None:
    """Give the command to the app."""
    example = "sluice import litellm.yaml --output sluice.yaml; sluice check"
    app.command("import", rich_help_panel="Configuration", epilog=f"Example: {example}")(import_)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The other system's YAML.")],
    origin: Annotated[
        Literal["llm-queue", "litellm", "auto"],
        typer.Option("--from", help="Whose it is; auto: its keys tell."),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", show_default=False, help="Write it here; else stdout."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn the configuration of LiteLLM's proxy or of LLM Queue into one of ours.

    The new file goes to stdout; what has no counterpart, what means something else, and the
    variables to set head it as comments and go to stderr. Secrets of the source are never
    printed: they become variables. The result has been tried: it loads.
    """
    from pipeline.cli import importing as command

    asked = command.Asked(file=file, origin=origin, output=output, force=force, as_json=as_json)
    command.run(asked)
