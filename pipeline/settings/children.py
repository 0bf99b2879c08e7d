"""Hands settings down to child processes, which load them from file and environment again.

The sockets on which they are to serve their metrics go down in the same way.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.settings.env import METRICS_FD, METRICS_PORT, PART, PREFIX, variables


def environment(path: Path | None, overrides: Mapping[str, str]) -> dict[str, str]:
    """Give the environment in which a child loads what we loaded.

    `path` and `overrides` are those given to `load`; everything else in our environment stays.
    """
    known, _ = variables(os.environ)
    replaced = {text.origin for dotted, text in known if dotted in overrides}
    kept = {name: text for name, text in os.environ.items() if name not in replaced}
    ours = {
        f"{PREFIX}{dotted.upper().replace('.', '__')}": text for dotted, text in overrides.items()
    }
    if path is not None:
        ours["SLUICE_CONFIG"] = str(path.resolve())
    return {**kept, **ours, "PYTHONUNBUFFERED": "1"}


def named(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """Give the environment of a child that its log lines call by this name."""
    return {**environ, PART: name}


def part_name(otherwise: str) -> str:
    """Give the name by which a supervisor calls this process; it has none: `otherwise`."""
    return os.environ.get(PART) or otherwise


def with_metrics(environment: Mapping[str, str], descriptor: int) -> dict[str, str]:
    """Give an environment that also tells a child where it is to serve its metrics."""
    return {**environment, METRICS_FD: str(descriptor)}


def metrics_descriptor() -> int | None:
    """Give the socket on which this process is to serve its metrics; none: it was handed none."""
    told = os.environ.get(METRICS_FD, "")
    return int(told) if told.isdecimal() else None


def names_metrics_port() -> bool:
    """Tell whether our environment itself names a port for metrics, which no file stands for."""
    return bool(os.environ.get(METRICS_PORT))
