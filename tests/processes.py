"""Real processes for the tests, each in a group of its own that never outlives its test."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pipeline.embedded.tether import Tether
from tests.forks import Forked, forks
from tests.waiting import eventually

_GRACE_S = 10.0
_TAIL_BYTES = 8_000


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Our own init may reap late, or never in a container.
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not stat.parent.parent.exists()


#: What Python is started with that changes nothing for a fork.
_PYTHON_OPTIONS = frozenset({"-P"})


class Spawned:
    """A process, its group and its output; a Python one that may be `warm` is forked."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        out: Path,
        *,
        warm: bool = False,
    ) -> None:
        self.out = out
        whole = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        out.write_bytes(b"")
        if warm and arguments[0] == sys.executable:
            run = [one for one in arguments[1:] if one not in _PYTHON_OPTIONS]
            streams = (Path(os.devnull), out, out)
            self.process: Forked | subprocess.Popen[bytes]
            self.process = forks().start(run, whole, streams, leads=True)
        else:
            self.process = _started(arguments, whole, out)
        self._tether = Tether(-self.process.pid)

    @property
    def pid(self) -> int:
        """Give the pid of the process, which is its group's too."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Read what the group has written so far, errors included."""
        return self.out.read_text(errors="replace")

    @property
    def tail(self) -> str:
        """Read the end of the output."""
        return self.output[-_TAIL_BYTES:]

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group; one that is gone is no error."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def await_output(self, words: str, timeout_s: float = 20.0) -> None:
        """Wait until the words stand in the output; fail when the process ends before that."""

        def seen() -> bool:
            ended = self.process.poll() is not None
            if words in self.output:
                return True
            assert not ended, f"ended with {self.process.returncode}:\n{self.tail}"
            return False

        eventually(seen, timeout_s, f"{words!r} in the output")

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait for the end and give the exit code."""
        return self.process.wait(timeout_s)

    def end(self) -> None:
        """End the whole group: in order, then by force."""
        self._tether.cut()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE_S)
        self.signal_group(signal.SIGKILL)
        self.process.wait()


def _started(
    arguments: Sequence[str], environment: Mapping[str, str], out: Path
) -> subprocess.Popen[bytes]:
    with out.open("ab") as sink:
        return subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )


class Spawn(Protocol):
    """Starts a process: the arguments, additions to the environment, a name for its output."""

    def __call__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        name: str = "process",
        *,
        warm: bool = False,
    ) -> Spawned: ...


class Nursery:
    """The processes of one test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.spawned: dict[str, Spawned] = {}

    def spawn(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        name: str = "process",
        *,
        warm: bool = False,
    ) -> Spawned:
        """Start a process; see Spawn."""
        label = name if name not in self.spawned else f"{name}-{len(self.spawned)}"
        out = self._directory / f"{label}.out"
        child = Spawned(arguments, env or {}, out, warm=warm)
        self.spawned[label] = child
        return child

    def end(self) -> None:
        """End them all, the youngest first."""
        for child in reversed(self.spawned.values()):
            child.end()
