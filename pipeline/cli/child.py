"""One child process, from its start to its end, and what it writes.

It has a session of its own, so that the terminal's Ctrl-C reaches only us, and is tethered to
us: when we are killed it is asked to end.
"""

import asyncio
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from pipeline import clock
from pipeline.embedded.tether import Tether

#: Last lines of a child kept for the report of its end.
TAIL_LINES: Final = 12

_READ_BYTES: Final = 65_536
#: A line without an end is passed on once it is this long.
_LONG_LINE: Final = 65_536


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be kept running: what to start, and how long it may take to end."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    #: For the reader of the start-up table.
    address: str = ""
    #: Seconds between SIGTERM and SIGKILL.
    grace_s: float = 5.0
    #: File descriptors that the process inherits.
    descriptors: tuple[int, ...] = ()


class Child:
    """A running process of a part; needs a running event loop."""

    def __init__(self, part: Part, on_line: Callable[[str, str], None]) -> None:
        self.part = part
        self.began = clock.monotonic()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self._partial = b""
        self._process = subprocess.Popen(
            part.arguments,
            env=dict(part.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            pass_fds=part.descriptors,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._output.fileno(), self._read)
        self._tether = Tether(self.pid)

    @property
    def pid(self) -> int:
        """Give the process's id, which is its group's, too."""
        return self._process.pid

    @property
    def age_s(self) -> float:
        """Tell for how long it has run."""
        return clock.monotonic() - self.began

    def poll(self) -> int | None:
        """Give the exit code once the process has ended; negative for a signal."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the process to end; a stopped one goes on first."""
        self._process.send_signal(signal.SIGTERM)
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process and all that it has started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Clear up after the end: its last lines, and processes that it left behind."""
        self._tether.cut()
        self.kill()
        self._read()
        self._loop.remove_reader(self._output.fileno())
        self._output.close()
        if self._partial:
            self._pass_on(self._partial)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while chunk := os.read(self._output.fileno(), _READ_BYTES):
                *lines, self._partial = (self._partial + chunk).split(b"\n")
                for line in lines:
                    self._pass_on(line)
                if len(self._partial) > _LONG_LINE:
                    self._pass_on(self._partial)
                    self._partial = b""
            self._loop.remove_reader(self._output.fileno())

    def _pass_on(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self.tail.append(text)
        self._on_line(self.part.name, text)
