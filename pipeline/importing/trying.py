"""Tries the result of an import: it must load, with something in each variable's place."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.errors import SettingsError
from pipeline.settings.load import Settings, load


def tried(text: str, environ: Mapping[str, str]) -> tuple[Settings | None, list[str]]:
    """Load a configuration, or give its faults."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sluice.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            return load(path, environ=environ), []
        except SettingsError as error:
            return None, error.faults
