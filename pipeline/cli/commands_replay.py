"""The commands about past events and who reads them: what `--help` says of them."""

from typing import Annotated, Literal

import typer

from pipeline.cli.options import AsJson, Config, Namespace, RedisUrl, Where
from pipeline.names import MAX_PRIORITY, MIN_PRIORITY

_PAST = "Past events"

_Time = "RFC 3339, Unix seconds, or an age such as 2h or 1d."
_Since = Annotated[
    str, typer.Option("--since", metavar="TIME", help=f"Created since then: {_Time}")
]
_Until = Annotated[
    str, typer.Option("--until", metavar="TIME", help="Created until then; else until now.")
]
_Status = Annotated[
    Literal["completed", "failed", "cancelled"] | None,
    typer.Option("--status", show_default=False, help="Only what ended so."),
]
_Shadow = Annotated[
    bool,
    typer.Option(
        "--shadow",
        help="Results go to the stream `{namespace}:shadow` and to no client, session or "
        "callback; no tenant's limits are charged.",
    ),
]
_Priority = Annotated[
    int,
    typer.Option("--priority", min=MIN_PRIORITY, max=MAX_PRIORITY, help="Of the new requests."),
]
_Rate = Annotated[
    float,
    typer.Option("--rate", metavar="N", min=0, show_default=False, help="At most N a second."),
]
_Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=0, show_default=False, help="At most N.")
]
_Resume = Annotated[
    str, typer.Option("--resume", metavar="NAME", help="Go on with one that was interrupted.")
]
_Stream = Annotated[
    str, typer.Option("--stream", help="`done`, `dead` or a request stream such as `high`.")
]
_GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="A group of yours.")]


def register(app: typer.Typer) -> None:
    """Give the commands to the app."""
    past = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")
    example = "sluice replay --since 2h --status failed --to-model quality --dry-run"
    past.callback(epilog=f"Example: {example}")(replay)
    past.command("list", epilog="Example: sluice replay list --json")(replays)
    app.add_typer(past, name="replay", rich_help_panel=_PAST)

    users = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")
    users.callback(epilog="Example: sluice groups create done ledger --from 1d")(groups)
    for function, name, example in (
        (group_list, "list", "sluice groups list --json"),
        (create, "create", "sluice groups create done ledger --from 2026-07-01T00:00:00Z"),
        (reset, "reset", "sluice groups reset ledger --to 2h"),
        (release, "release", "sluice groups release ledger"),
    ):
        users.command(name, epilog=f"Example: {example}")(function)
    app.add_typer(users, name="groups", rich_help_panel=_PAST)


def replay(
    context: typer.Context,
    since: _Since = "",
    until: _Until = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Only this model's.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant's.")] = "",
    status: _Status = None,
    to_model: Annotated[str, typer.Option("--to-model", help="Ask this model instead.")] = "",
    shadow: _Shadow = False,
    priority: _Priority = MIN_PRIORITY,
    rate: _Rate = 0.0,
    limit: _Limit = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    resume: _Resume = "",
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Send requests that have ended again, as new ones linked to the old.

    They have no deadline, go last unless --priority says otherwise, and hold back while a
    thousand requests wait for capacity. What is itself a replay is left out, and so is what has
    no body any more; the summary counts it. An interrupted replay goes on with --resume exactly
    where it was; `sluice replay list` tells how far each has come.
    """
    if context.invoked_subcommand:
        return
    from pipeline.cli import replay as command

    wanted = command.Wanted(
        since=since,
        until=until,
        model=model,
        tenant=tenant,
        status=status or "",
        to_model=to_model,
        shadow=shadow,
        priority=priority,
        limit=limit,
    )
    asks = wanted != command.Wanted()
    _check(context, resumes=bool(resume), asks=asks, dry_run=dry_run)
    how = command.How(resume=resume, rate=rate, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(command.run(Where(config, redis_url, namespace), wanted, how))


def _check(context: typer.Context, *, resumes: bool, asks: bool, dry_run: bool) -> None:
    """Refuse what makes no sense together."""
    if resumes and asks:
        raise typer.BadParameter("it goes on with what was asked then: leave the rest out", context)
    if resumes and dry_run:
        raise typer.BadParameter("a dry run begins anew: it takes no --resume", context)
    if not resumes and not context.params["since"]:
        raise typer.BadParameter("say --since, or --resume a replay that was interrupted", context)


def replays(
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """List the replays of late, with how far each has come."""
    from pipeline.cli import replay as command

    command.show(Where(config, redis_url, namespace), as_json=as_json)


def groups(
    context: typer.Context,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """List the groups that read the kept streams; make, reset and release your own."""
    if context.invoked_subcommand is None:
        group_list(config, redis_url, namespace, as_json)


def group_list(
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """List each group with what it has still to read, what it holds, and what it holds back."""
    from pipeline.cli import groups_view as command

    command.show(Where(config, redis_url, namespace), as_json=as_json)


def create(
    stream: Annotated[
        str, typer.Argument(help="`done`, `dead` or a request stream such as `high`.")
    ],
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Its name.")],
    place: Annotated[
        str,
        typer.Option("--from", metavar="PLACE", help="start, end, an entry's id, or a time."),
    ] = "start",
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Make a group of your own, which reads each entry from a place on, that one included.

    Nothing is trimmed that it has not read and acknowledged: read it, or release it.
    """
    from pipeline.cli import groups_view as command

    where = Where(config, redis_url, namespace)
    command.create(where, stream, group, place, as_json=as_json)


def reset(
    group: _GroupName,
    place: Annotated[
        str,
        typer.Option("--to", metavar="PLACE", help="start, end, an entry's id, or a time."),
    ],
    stream: _Stream = "done",
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Let a group read again from a place on, that entry included, or skip up to there.

    What its consumers hold stays theirs until they acknowledge it or it is read again.
    """
    from pipeline.cli import groups_view as command

    where = Where(config, redis_url, namespace)
    command.reset(where, stream, group, place, as_json=as_json)


def release(
    group: _GroupName,
    stream: _Stream = "done",
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Destroy a group that was left behind, so that trimming goes on.

    What it has not read it never will; the entries themselves stay for their retention.
    """
    from pipeline.cli import groups_view as command

    where = Where(config, redis_url, namespace)
    command.release(where, stream, group, sure=sure, as_json=as_json)
