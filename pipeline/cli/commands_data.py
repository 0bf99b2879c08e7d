"""The commands that send requests and look at them: what `--help` says of them."""

from typing import Annotated, Literal

import typer

from pipeline.cli.options import AsJson, Config, Namespace, RedisUrl, Where

_LOOK = "Send and look"


def register(app: typer.Typer) -> None:
    """Give the commands to the app."""
    for function, example in (
        (send, 'sluice send "Hello" --model fast --priority 5'),
        (show, "sluice show 019a3c… --trace  (the id that `send` told)"),
        (tail, "sluice tail --model fast --status failed"),
        (status, "sluice status --watch 2"),
    ):
        app.command(rich_help_panel=_LOOK, epilog=f"Example: {example}")(function)


def send(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    model: Annotated[
        str, typer.Option("--model", "-m", show_default=False, help="Else the default model.")
    ] = "",
    system: Annotated[str, typer.Option("--system", help="The system's message.")] = "",
    priority: Annotated[
        int, typer.Option("--priority", min=-10, max=10, help="Above 0 goes first, below 0 last.")
    ] = 0,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Print the answer as it comes.")
    ] = True,
    detached: Annotated[
        bool, typer.Option("--async", help="Do not wait; print the request's id.")
    ] = False,
    via: Annotated[
        Literal["http", "redis"], typer.Option("--via", help="By the gateway, or straight by XADD.")
    ] = "http",
    url: Annotated[
        str, typer.Option("--url", show_default=False, help="The gateway; else as configured.")
    ] = "",
    token: Annotated[str, typer.Option("--token", help="Bearer token of a tenant.")] = "",
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Send a request and print its answer; its id goes to stderr."""
    from pipeline.cli import send as command
    from pipeline.cli.asking import Asking

    asking = Asking(
        prompt=prompt,
        model=model,
        system=system,
        priority=priority,
        stream=stream,
        detached=detached,
        via=via,
        url=url,
        token=token,
        as_json=as_json,
    )
    command.run(Where(config, redis_url, namespace), asking)


def show(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="A request's id.")],
    trace: Annotated[
        bool, typer.Option("--trace", help="Draw it as the tree that a collector gets.")
    ] = False,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Show a request's journey: each hop with its wait and duration, usage, error, answer.

    With --trace it is drawn as its spans along their time, leg by leg, whether it was sampled
    or not.
    """
    from pipeline.cli import show as command

    where = Where(config, redis_url, namespace)
    command.run(where, request_id, as_tree=trace, as_json=as_json)


def tail(
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant's.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Only this model's.")] = "",
    status: Annotated[str, typer.Option("--status", help="Only in this status.")] = "",
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Follow events as they move, a line each, until Ctrl-C.

    It reads beside the groups and disturbs nobody. What moves fast may be missed between hops;
    every end is told.
    """
    from pipeline.cli import tail as command

    wanted = command.Filter(tenant=tenant, model=model, status=status)
    command.run(Where(config, redis_url, namespace), wanted, as_json=as_json)


def status(
    watch: Annotated[
        float,
        typer.Option(
            "--watch", metavar="S", min=0, show_default=False, help="Again every S seconds."
        ),
    ] = 0.0,
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    as_json: AsJson = False,
) -> None:
    """Tell how streams, groups, workers and gateways stand."""
    from pipeline.cli import status_view

    status_view.run(Where(config, redis_url, namespace), watch_s=watch, as_json=as_json)
