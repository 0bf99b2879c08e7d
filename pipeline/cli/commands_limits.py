"""The commands about limits, tenants and tokens: what `--help` says of them."""

from typing import Annotated

import typer

from pipeline.cli.options import AsJson

_LIMITS = "Limits"


def register(app: typer.Typer) -> None:
    """Give the commands to the app."""
    for function, example in ((token, "sluice token --tenant acme"),):
        app.command(rich_help_panel=_LIMITS, epilog=f"Example: {example}")(function)


def token(
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="NAME", help="Whose it will be, in the lines shown.")
    ] = "acme",
    brought: Annotated[
        bool, typer.Option("--hash", help="Hash a token of your own, read from stdin.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a bearer token for a tenant: it goes to stdout, the lines to configure to stderr."""
    from pipeline.cli import token as command

    command.run(tenant, brought=brought, as_json=as_json)
