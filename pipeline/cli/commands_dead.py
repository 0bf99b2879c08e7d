"""The commands about dead letters: what `--help` says of them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, Namespace, RedisUrl, Where

_TIME = "RFC 3339, Unix seconds, or an age such as 2h or 1d"
_ABOUT = "List, show, replay, edit and purge dead letters: requests that ended in failure."
_CODES = "They end with 0 when done, 1 when something failed, 3 when nothing matched."

_Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="GLOB", help="Only this model's, as clients name it."),
]
_Tenant = Annotated[str, typer.Option("--tenant", metavar="GLOB", help="Only this tenant's.")]
_Cause = Annotated[
    str,
    typer.Option(
        "--cause", metavar="GLOB", help="Only what died so: exhausted, timeout, unreadable …"
    ),
]
_Since = Annotated[str, typer.Option("--since", metavar="TIME", help=f"Died since then: {_TIME}.")]
_Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Died before then.")]
_All = Annotated[bool, typer.Option("--all", help="All of them, where no filter is given.")]
_Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID…", show_default=False, help="Ids of letters or of requests."),
]
_Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a letter or of a request.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show which letters are meant.")]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=JSON",
        show_default=False,
        help="Set a field of the body, the `model` or the `priority`; null takes one out. "
        "What is no JSON is text.",
    ),
]
_Body = Annotated[
    Path | None,
    typer.Option("--body", metavar="FILE", show_default=False, help="A whole new body; -: stdin."),
]

_EXAMPLES = {
    "list": ("sluice dead list --cause exhausted --since 2h", "sluice dead list --json --limit 0"),
    "show": ("sluice dead show 019a3c…", "sluice dead show 1795233538000-0 --json"),
    "replay": (
        "sluice dead replay 019a3c… --to-model quality",
        "sluice dead replay --model 'openai/*' --since 1d --rate 20",
        "sluice dead replay --all --dry-run",
    ),
    "edit": (
        "sluice dead edit 019a3c… --set model=quality --set temperature=0 --replay",
        "sluice dead edit 019a3c… --body request.json",
    ),
    "purge": ("sluice dead purge --until 3d --yes", "sluice dead purge --cause unreadable"),
}


def register(app: typer.Typer) -> None:
    """Give the commands to the app."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        help=f"{_ABOUT}\n\n{_CODES}",
    )
    for name, function in (
        ("list", listing),
        ("show", show),
        ("replay", replay),
        ("edit", edit),
        ("purge", purge),
    ):
        examples = "\n\n".join(f"`{example}`" for example in _EXAMPLES[name])
        group.command(name, epilog=f"Examples:\n\n{examples}")(function)
    app.add_typer(group, name="dead", rich_help_panel="Past events")


def listing(
    model: _Model = "",
    tenant: _Tenant = "",
    cause: _Cause = "",
    since: _Since = "",
    until: _Until = "",
    after: Annotated[
        str, typer.Option("--after", metavar="LETTER", help="Go on behind this letter.")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="At most so many; 0: all.")
    ] = 50,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first; with --json one object on each line."""
    from pipeline.cli import dead
    from pipeline.cli.dead_choice import Choice

    choice = Choice(model=model, tenant=tenant, cause=cause, since=since, until=until)
    where = Where(config, redis_url, namespace)
    raise typer.Exit(dead.list_letters(where, choice, after=after, limit=limit, as_json=as_json))


def show(
    reference: _Id,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its error, its journey, its body; with --json the whole of it."""
    from pipeline.cli import dead

    raise typer.Exit(dead.show(Where(config, redis_url, namespace), reference, as_json=as_json))


def replay(
    ids: _Ids = None,
    model: _Model = "",
    tenant: _Tenant = "",
    cause: _Cause = "",
    since: _Since = "",
    until: _Until = "",
    everything: _All = False,
    to_model: Annotated[
        str, typer.Option("--to-model", metavar="NAME", help="Ask this model instead.")
    ] = "",
    settings: _Set = None,
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
    """Put dead letters back into the flow, from the beginning and without a deadline.

    Where nothing of an answer was delivered, the request keeps its id, and its callback comes
    again; else it gets a new one, linked to the old. Said twice, it replays once. After Ctrl-C
    the same command goes on with the rest.
    """
    from pipeline.cli import dead
    from pipeline.cli.batches import How
    from pipeline.cli.dead_changes import read_changes
    from pipeline.cli.dead_choice import Choice

    choice = Choice(
        references=tuple(ids or ()),
        model=model,
        tenant=tenant,
        cause=cause,
        since=since,
        until=until,
        everything=everything,
    )
    choice.require()
    changes = read_changes(settings or (), to_model, None)
    how = How(dry_run=dry_run, rate=rate, as_json=as_json)
    raise typer.Exit(dead.replay(Where(config, redis_url, namespace), choice, changes, how))


def edit(
    reference: _Id,
    settings: _Set = None,
    body: _Body = None,
    replays: Annotated[bool, typer.Option("--replay", help="Replay it at once.")] = False,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Change a dead letter's body, model or priority where it is; it gets a new letter's id.

    A malformed entry is mended so: by a field, or by a whole body.
    """
    from pipeline.cli import dead
    from pipeline.cli.dead_changes import read_changes

    changes = read_changes(settings or (), "", body)
    if changes is None:
        raise typer.BadParameter("say what to change: --set FIELD=JSON, --body FILE, or both")
    where = Where(config, redis_url, namespace)
    raise typer.Exit(dead.edit(where, reference, changes, replays=replays, as_json=as_json))


def purge(
    ids: _Ids = None,
    model: _Model = "",
    tenant: _Tenant = "",
    cause: _Cause = "",
    since: _Since = "",
    until: _Until = "",
    everything: _All = False,
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: _DryRun = False,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Delete dead letters and their bodies for good; the requests' records stay as long as ever."""
    from pipeline.cli import dead
    from pipeline.cli.batches import How
    from pipeline.cli.dead_choice import Choice

    choice = Choice(
        references=tuple(ids or ()),
        model=model,
        tenant=tenant,
        cause=cause,
        since=since,
        until=until,
        everything=everything,
    )
    choice.require()
    how = How(dry_run=dry_run, sure=sure, as_json=as_json)
    raise typer.Exit(dead.purge(Where(config, redis_url, namespace), choice, how))
