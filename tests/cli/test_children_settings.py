"""What the command line changes reaches child processes through their environment."""

from pathlib import Path

import pytest

from pipeline.settings.children import environment
from pipeline.settings.load import load


def test_a_child_loads_what_its_parent_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_PORT", "9001")
    monkeypatch.setenv("SLUICE_NAMESPACE", "kept")
    config = tmp_path / "of-mine.yaml"
    config.write_text("gateway: {port: 9000}\nworkers: {calls: 7}\n")
    overrides = {"gateway.port": "9002", "workers.processes": "3"}
    handed = environment(config, overrides)
    assert load(environ=handed) == load(config, overrides=overrides)
    assert load(environ=handed).gateway.port == 9002


def test_everything_else_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "else")
    assert environment(None, {})["SOMETHING"] == "else"
    assert "SLUICE_CONFIG" not in environment(None, {})
