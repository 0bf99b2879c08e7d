"""The options that commands share, and where a command is to work."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        show_default=False,
        help="The configuration; else SLUICE_CONFIG, ./sluice.yaml or none.",
    ),
]
RedisUrl = Annotated[
    str,
    typer.Option(
        "--redis-url",
        metavar="URL",
        show_default=False,
        help="Redis to work on; else the configuration's, or that of `sluice up` here.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        metavar="NAME",
        show_default=False,
        help="What all names in Redis begin with.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Where(msgspec.Struct, frozen=True):
    """Which configuration holds, and what the command line changes in it."""

    config: Path | None = None
    redis_url: str = ""
    namespace: str = ""
    #: Further changes by dotted path, as in `{"gateway.port": "9000"}`.
    changes: dict[str, str] = {}

    def overrides(self) -> dict[str, str]:
        """Give everything that the command line changes, by dotted path."""
        given = {"redis.url": self.redis_url, "redis.namespace": self.namespace, **self.changes}
        return {path: text for path, text in given.items() if text}
