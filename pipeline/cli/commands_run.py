"""The commands that run parts of Sluice, and `check`: what `--help` says of them."""

from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, Namespace, RedisUrl, Where

_RUN = "Run"
_SIM_PORT = "Else simulate.port; 0 takes a free one."

Port = Annotated[
    int | None,
    typer.Option("--port", "-p", min=1, max=65535, show_default=False, help="Port of the gateway."),
]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, show_default=False, help="Processes to run.")
]


def register(app: typer.Typer) -> None:
    """Give the commands to the app."""
    for function, example in (
        (up, "sluice up --port 9000"),
        (gateway, "sluice gateway --redis-url redis://10.0.0.5:6379/0 --port 8080"),
        (workers, "sluice workers --redis-url redis://10.0.0.5:6379/0 --processes 4"),
        (simulate, "sluice simulate --set ttft_ms=300 --set error_rate=0.1"),
        (check, "sluice check --config sluice.yaml --show --redis"),
    ):
        app.command(rich_help_panel=_RUN, epilog=f"Example: {example}")(function)


def _changes(**given: int | None) -> dict[str, str]:
    """Give the options that were set, by the dotted path that they stand for."""
    return {name.replace("__", "."): str(value) for name, value in given.items() if value}


def up(
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    port: Port = None,
    processes: Processes = None,
) -> None:
    """Start everything on this machine: Redis, gateway, workers.

    Without a redis.url, Redis runs here with its data in ./.sluice. Without a provider, the
    simulated one answers. Ctrl-C ends it in order; a second one hurries.
    """
    from pipeline.cli import up as command

    changes = _changes(gateway__port=port, workers__processes=processes)
    raise typer.Exit(command.run(Where(config, redis_url, namespace, changes)))


def gateway(
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    port: Port = None,
    processes: Processes = None,
) -> None:
    """Run the HTTP gateway alone, against a Redis that runs elsewhere."""
    from pipeline.cli import serve

    changes = _changes(gateway__port=port, gateway__processes=processes)
    raise typer.Exit(serve.gateway(Where(config, redis_url, namespace, changes)))


def workers(
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    processes: Processes = None,
) -> None:
    """Run worker processes alone, against a Redis that runs elsewhere.

    SIGTERM lets them finish what they have begun, at most workers.grace_s; SIGUSR2 restarts
    them one after another, SIGHUP reloads the configuration. One that dies is started again.
    """
    from pipeline.cli import serve

    changes = _changes(workers__processes=processes)
    raise typer.Exit(serve.workers(Where(config, redis_url, namespace, changes)))


def simulate(
    config: Config = None,
    host: Annotated[str, typer.Option("--host", show_default=False, help="Where to listen.")] = "",
    port: Annotated[
        int, typer.Option("--port", "-p", min=-1, max=65535, show_default=False, help=_SIM_PORT)
    ] = -1,
    seed: Annotated[str, typer.Option("--seed", metavar="N", help="Make every run the same.")] = "",
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="How calls go; may be given again."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--options", help="List what --set can name, and leave.")
    ] = False,
) -> None:
    """Run the simulated provider: the providers' APIs without a model behind them.

    It speaks OpenAI's form, Azure's, Anthropic's and Gemini's, each on its own paths. Its delays,
    errors, limits and stalls are chosen with --set, by a request's model name such as
    `sim:ttft_ms=200,error=429`, or for all calls to come with PUT /behaviour.
    """
    from pipeline.cli import serve

    extra = [f"--seed={seed}"] if seed else []
    extra += ["--set", *pairs] if pairs else []
    extra += ["--help"] if explain else []
    serve.simulate(Where(config), host, port, extra)


def check(
    config: Config = None,
    redis_url: RedisUrl = "",
    namespace: Namespace = "",
    show: Annotated[
        bool, typer.Option("--show", help="Print the effective configuration, secrets masked.")
    ] = False,
    redis: Annotated[
        bool, typer.Option("--redis", help="Ask Redis whether it will do, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Validate the configuration and name every fault with its path."""
    from pipeline.cli import check as command

    asked = command.Asked(show=show, redis=redis, as_json=as_json)
    raise typer.Exit(command.run(Where(config, redis_url, namespace), asked))
