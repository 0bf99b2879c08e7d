"""The commands about requests that wait: cancelling, the ladder, promoting; what `--help` says."""

from typing import Annotated, Literal

import typer

from pipeline.cli.options import AsJson, Config, Namespace, RedisUrl, Where

_WAITING = "Requests that wait"
_TIME = "RFC 3339, Unix seconds, or an age such as 2h or 1d"

_Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="GLOB", help="Only this model's, as clients name it."),
]
_Tenant = Annotated[str, typer.Option("--tenant", metavar="GLOB", help="Only this tenant's.")]
_Cause = Annotated[
    str,
    typer.Option(
        "--cause", metavar="GLOB", help="Only what failed so: rate_limited, overloaded, timeout …"
    ),
]
_Rung = Annotated[
    int,
    typer.Option("--rung", metavar="S", min=0, show_default=False, help="Only on this rung."),
]
_Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID…]", show_default=False, help="Ids of requests."),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show which are meant.")]


def register(app: typer.Typer) -> None:
    """Give the commands to the app."""
    for function, examples in (
        (
            cancel,
            ("sluice cancel 019a3c…", "sluice cancel --tenant acme --status waiting --dry-run"),
        ),
        (ladder, ("sluice ladder --cause rate_limited", "sluice ladder --json --limit 0")),
        (promote, ("sluice promote 019a3c…", "sluice promote --model 'openai/*' --rate 20")),
    ):
        epilog = "\n\n".join(["Examples:", *(f"`{example}`" for example in examples)])
        app.command(rich_help_panel=_WAITING, epilog=epilog)(function)


def cancel(
    ids: _Ids = None,
    model: _Model = "",
    tenant: _Tenant = "",
    status: Annotated[
        Literal["waiting", "retrying"] | None,
        typer.Option(
            "--status", show_default=False, help="Only who waits for capacity, or on the ladder."
        ),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help=f"Created since then: {_TIME}.")
    ] = "",
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: _DryRun = False,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Cancel requests wherever they are: who is named, or who waits or climbs and is meant.

    Their clients get the error `cancelled`. A call under way ends within seconds, and what it
    has used stays counted. What has ended stays as it is. Ends with 1 when a name is unknown, 3
    when nobody is meant.
    """
    from pipeline.cli import cancel as command
    from pipeline.cli.batches import How

    by_filter = any((model, tenant, status, since))
    if bool(ids) == by_filter:
        raise typer.BadParameter("name requests, or give a filter such as --model; not both")
    wanted = command.Wanted(model=model, tenant=tenant, status=status or "", since=since)
    how = How(dry_run=dry_run, sure=sure, as_json=as_json)
    raise typer.Exit(command.run(Where(config, redis_url, namespace), ids or (), wanted, how))


def ladder(
    model: _Model = "",
    tenant: _Tenant = "",
    cause: _Cause = "",
    rung: _Rung = 0,
    after: Annotated[
        str, typer.Option("--after", metavar="PLACE", help="Go on behind this place.")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="At most so many; 0: all.")
    ] = 50,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """List who waits on the ladder to be tried again, rung by rung, the next due first.

    With --json one object on each line. Ends with 3 when nobody is meant.
    """
    from pipeline.cli import ladder as command
    from pipeline.streams.rungs import ClimberFilter

    wanted = ClimberFilter(model=model, tenant=tenant, cause=cause, rung=rung)
    where = Where(config, redis_url, namespace)
    raise typer.Exit(command.show(where, wanted, after=after, limit=limit, as_json=as_json))


def promote(
    ids: _Ids = None,
    model: _Model = "",
    tenant: _Tenant = "",
    cause: _Cause = "",
    rung: _Rung = 0,
    everything: Annotated[
        bool, typer.Option("--all", help="All of them, where no filter is given.")
    ] = False,
    rate: Annotated[
        float,
        typer.Option(
            "--rate", metavar="N", min=0, show_default=False, help="At most so many a second."
        ),
    ] = 0.0,
    dry_run: _DryRun = False,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Let requests leave the ladder now: a provider is well again, and nobody need wait longer.

    No more go at once than the gate takes. Who fails again climbs to the next rung. Ends with 1
    when none of those named was there, 3 when nobody is meant.
    """
    from pipeline.cli import ladder as command
    from pipeline.cli.batches import How
    from pipeline.streams.rungs import ClimberFilter

    by_filter = any((model, tenant, cause, rung, everything))
    if bool(ids) == by_filter:
        raise typer.BadParameter("name requests, give a filter such as --model, or say --all")
    wanted = ClimberFilter(model=model, tenant=tenant, cause=cause, rung=rung)
    how = How(dry_run=dry_run, rate=rate, as_json=as_json)
    raise typer.Exit(command.promote(Where(config, redis_url, namespace), ids or (), wanted, how))
