"""Runs the command `sluice` and keeps its words apart."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipeline.embedded.redis_server import free_port
from tests.forks import forks
from tests.processes import Nursery, Spawned

SLUICE = (sys.executable, "-P", "-c", "from pipeline.cli.app import main; main()")

_TIMEOUT_S = 60.0


def sluice(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in a folder; nothing it prints is ever a traceback."""
    with tempfile.TemporaryDirectory() as directory:
        given, out, err = (Path(directory, name) for name in ("stdin", "stdout", "stderr"))
        given.write_text(stdin)
        environment = {**os.environ, "COLUMNS": "160", **(env or {})}
        run = (*SLUICE[2:], *arguments)
        child = forks().start(run, environment, (given, out, err), folder=folder)
        try:
            code = child.wait(_TIMEOUT_S)
        finally:
            child.kill()
        done = subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())
    assert "Traceback" not in done.stdout + done.stderr
    return done


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Give the one line of a command that could not go on."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("sluice: ")
    return line.removeprefix("sluice: ")


class House:
    """A folder with a configuration, in which `sluice up` may run beside other tests' ones."""

    #: The `sluice up` that runs in it, where one does.
    up: Spawned

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.gateway_port = free_port()
        self.simulate_port = free_port()
        self.url = f"http://127.0.0.1:{self.gateway_port}"
        folder.mkdir(exist_ok=True)
        (folder / "sluice.yaml").write_text(
            f"gateway: {{port: {self.gateway_port}}}\n"
            f"simulate: {{port: {self.simulate_port}}}\n"
            f"{settings or 'workers: {liveness_s: 2, scan_s: 0.5}'}\n"
        )

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command in the folder."""
        return sluice(self.folder, *arguments, stdin=stdin)

    def start(self, nursery: Nursery, *arguments: str) -> Spawned:
        """Start a command that goes on."""
        # The shell changes the folder and is replaced: the pid is the command's.
        there = ("/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self.folder))
        name = arguments[0]
        return nursery.spawn([*there, *SLUICE, *arguments], {"COLUMNS": "160"}, name)
