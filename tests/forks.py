"""Processes that a warm one forks (`tests.warm`), with the face of `subprocess.Popen`."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from tests.house.sources import ROOT
from tests.warm import Order, Told

_WARM = (sys.executable, "-P", "-c", "from tests.warm import serve; serve()")
#: What a loaded machine may take to import everything.
_START_S = 120.0


class Forked:
    """One process; so much of `Popen` as tests use."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.started = threading.Event()
        self.ended = threading.Event()

    def poll(self) -> int | None:
        """Give the exit code, once it has ended."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises `subprocess.TimeoutExpired`."""
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The warm process of this one, and who came of it; it ends with us."""

    def __init__(self) -> None:
        self._warm = subprocess.Popen(
            _WARM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._numbers = itertools.count(1)
        self._ordered: dict[int, Forked] = {}
        self._running: dict[int, Forked] = {}
        stdout = self._warm.stdout
        assert stdout is not None
        threading.Thread(target=self._listen, args=(stdout,), daemon=True).start()

    def start(
        self,
        run: Sequence[str],
        environment: Mapping[str, str],
        streams: tuple[Path, Path, Path],
        *,
        folder: Path | None = None,
        leads: bool = False,
    ) -> Forked:
        """Start a process; `streams` are the files of stdin, stdout and stderr."""
        number, forked = next(self._numbers), Forked()
        self._ordered[number] = forked
        given, out, err = map(str, streams)
        order = Order(
            number=number,
            run=[*run],
            folder=str(folder or Path.cwd()),
            environment=dict(environment),
            stdin=given,
            stdout=out,
            stderr=err,
            leads=leads,
        )
        stdin = self._warm.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(order) + b"\n")
        stdin.flush()
        assert forked.started.wait(_START_S), "the warm process does not fork"
        return forked

    def _listen(self, stdout: IO[bytes]) -> None:
        decode = msgspec.json.Decoder(Told).decode
        for line in stdout:
            told = decode(line)
            if told.code is None:
                forked = self._running[told.pid] = self._ordered.pop(told.number)
                forked.pid = told.pid
                forked.started.set()
            else:
                forked = self._running.pop(told.pid)
                forked.returncode = told.code
                forked.ended.set()


#: The one of this process.
forks = functools.cache(Forks)
