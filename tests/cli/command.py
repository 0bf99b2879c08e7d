"""Runs the command `sluice` and keeps its words apart."""

import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline.embedded.redis_server import free_port
from tests.cli.warm import Done, Order
from tests.house.sources import ROOT
from tests.processes import Nursery, Spawned

SLUICE = (sys.executable, "-P", "-c", "from pipeline.cli.app import main; main()")

_WARM = (sys.executable, "-P", "-c", "from tests.cli.warm import serve; serve()")
_TIMEOUT_S = 60.0


class _Warm:
    """The one process of ours that forks commands; it ends with us."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            _WARM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def run(self, order: Order) -> int:
        """Run a command; gives its exit code, also of one that had to be killed for its time."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(msgspec.json.encode(order) + b"\n")
        stdin.flush()
        pid = _told(stdout.readline()).pid
        late = threading.Timer(_TIMEOUT_S, os.kill, (pid, signal.SIGKILL))
        late.start()
        try:
            code = _told(stdout.readline()).code
        finally:
            late.cancel()
        assert code is not None
        return code


_told = msgspec.json.Decoder(Done).decode
_warm = functools.cache(_Warm)


def sluice(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in a folder; nothing it prints is ever a traceback."""
    with tempfile.TemporaryDirectory() as directory:
        streams = [Path(directory, name) for name in ("stdin", "stdout", "stderr")]
        given, out, err = streams
        given.write_text(stdin)
        order = Order(
            arguments=[*arguments],
            folder=str(folder),
            environment={**os.environ, "COLUMNS": "160", **(env or {})},
            stdin=str(given),
            stdout=str(out),
            stderr=str(err),
        )
        code = _warm().run(order)
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
