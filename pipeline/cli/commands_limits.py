"""The commands about limits, keys, tenants and tokens: what `--help` says of them."""

from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, Namespace, RedisUrl, Where

_LIMITS = "Limits"

_Priority = Annotated[
    int | None,
    typer.Option("--priority", min=-10, max=10, show_default=False, help="Else the tenant's."),
]
_Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="S",
        min=0.001,
        show_default=False,
        help="How long the client waits; else the gateway's own limit.",
    ),
]


def register(app: typer.Typer) -> None:
    """Give the commands to the app."""
    for function, example in (
        (limits, "sluice limits --model fast --tenant acme --tokens 2000; echo $?"),
        (reload, "sluice reload --dry-run; sluice reload"),
        (token, "sluice token --tenant acme; sluice token --admin"),
    ):
        app.command(rich_help_panel=_LIMITS, epilog=f"Example: {example}")(function)
    group = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")
    example = "sluice keys revive openai:3fa9c1d2"
    group.callback(epilog=f"Example: {example}")(keys)
    group.command(epilog=f"Example: {example}")(revive)
    app.add_typer(group, name="keys", rich_help_panel=_LIMITS)


def limits(
    model: Annotated[str, typer.Option("--model", "-m", help="The model, as clients name it.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose request it is.")] = "",
    user: Annotated[str, typer.Option("--user", help="The tenant's user.")] = "",
    token_id: Annotated[
        str, typer.Option("--token", metavar="ID", help="Which of the tenant's tokens it shows.")
    ] = "",
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Tokens of the prompt.")] = 100,
    max_tokens: Annotated[
        int,
        typer.Option(
            "--max-tokens", min=0, show_default=False, help="Of the answer; else as usual."
        ),
    ] = 0,
    priority: _Priority = None,
    timeout_s: _Timeout = None,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Tell whether a request would be admitted now, and if not, why and when.

    Nothing is sent or counted. With --config the limits of that file are tried on what is used
    now; else those that hold. Ends with 0 if it would go at once, 3 if it would wait, 4 if it
    would be refused.
    """
    from pipeline.cli import trial_view
    from pipeline.cli.limits import Asked

    asked = Asked(
        model=model,
        tenant=tenant,
        user=user,
        token=token_id,
        tokens=tokens,
        max_tokens=max_tokens,
        priority=priority,
        timeout_s=timeout_s,
    )
    raise typer.Exit(trial_view.run(Where(config, redis_url, namespace), asked, as_json=as_json))


def keys(
    context: typer.Context,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """List the providers' keys, masked, with their state, limits and use."""
    if context.invoked_subcommand:
        return
    from pipeline.cli import keys as command

    command.run(Where(config, redis_url, namespace), as_json=as_json)


def revive(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="As `sluice keys` lists.")],
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Use keys again at once that their provider refused."""
    from pipeline.cli import keys as command

    command.revive(Where(config, redis_url, namespace), names, as_json=as_json)


def reload(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what differs, and change nothing.")
    ] = False,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Put the configuration file in force in every part that runs, dropping no request.

    Each part reads its own file and environment again; what is under way ends by what it began
    with. It tells what differs, what takes a restart, and which parts have taken it over: ends
    with 1 when one has not. A file with faults changes nothing. SIGHUP to a `sluice` process does
    the same.
    """
    from pipeline.cli import reload as command

    where = Where(config, redis_url, namespace)
    raise typer.Exit(command.run(where, dry_run=dry_run, as_json=as_json))


def token(
    tenant: Annotated[
        str,
        typer.Option(
            "--tenant", metavar="NAME", help="Whose it will be, in the lines shown; else acme's."
        ),
    ] = "",
    admin: Annotated[
        bool, typer.Option("--admin", help="An operator's, for the routes below /admin.")
    ] = False,
    brought: Annotated[
        bool, typer.Option("--hash", help="Hash a token of your own, read from stdin.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a bearer token for a tenant, or for an operator.

    It goes to stdout, the lines to configure to stderr.
    """
    from pipeline.cli import token as command

    if admin and tenant:
        raise typer.BadParameter("it is a tenant's or an operator's, not both")
    command.run("" if admin else tenant or "acme", brought=brought, as_json=as_json)
