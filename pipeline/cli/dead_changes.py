"""What the command line says of an edit: fields, a model, a body from a file."""

import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import typer

from pipeline.streams.dead.changes import Changes


def read_changes(settings: Iterable[str], to_model: str, body: Path | None) -> Changes | None:
    """Read an edit; None: nothing is to be changed. What cannot be read is misuse: exit code 2."""
    fields = dict(map(_setting, settings))
    if to_model:
        fields["model"] = to_model
    changes = Changes(fields=fields, body=_read(body) if body else b"")
    return changes if changes.names else None


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"`{text}` is not FIELD=JSON", param_hint="--set")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _read(body: Path) -> bytes:
    try:
        found = sys.stdin.buffer.read() if str(body) == "-" else body.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{body}: {error.strerror}", param_hint="--body") from None
    if not found.strip():
        raise typer.BadParameter(f"{body} is empty", param_hint="--body")
    return found
