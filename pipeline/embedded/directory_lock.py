"""The lock on a data directory, which its redis-server inherits."""

import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from pipeline import clock
from pipeline.errors import StartError

#: How long to wait for the server of a parent that was killed a moment ago.
ORPHAN_TIMEOUT_S = 10.0

_POLL_S = 0.01


class DirectoryTaken(StartError):
    """Another process, or a server that was left behind, holds the directory."""


class DirectoryLock:
    """A file lock that holds as long as we or the server live.

    It belongs to the open file, not to a process: the server is started with the descriptor.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "redis.lock"
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with ExitStack() as undo:
            undo.callback(self.release)
            self._take()
            self.write(0)
            undo.pop_all()

    def write(self, server: int) -> None:
        """Note who holds the lock, for the one who finds it taken."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()} {server}".encode(), 0)

    def release(self) -> None:
        """Give the directory free."""
        os.close(self.descriptor)

    def _take(self) -> None:
        deadline = clock.monotonic() + ORPHAN_TIMEOUT_S
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            owner, server = self._holders()
            if _runs(owner):
                raise DirectoryTaken(
                    f"{self.path.parent} is in use by pid {owner} (redis-server {server}): "
                    "end that one, or take another directory"
                )
            if clock.monotonic() > deadline:
                raise DirectoryTaken(
                    f"{self.path.parent} is in use by a redis-server that was left behind: "
                    f"`kill {server}`"
                )
            clock.sleep(_POLL_S)

    def _holders(self) -> tuple[int, int]:
        words = os.pread(self.descriptor, 64, 0).split()
        return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)


def _runs(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
