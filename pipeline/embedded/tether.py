"""A process tied to the life of this one, however this one ends."""

import subprocess


class Tether:
    """Ends another process, or with a negative pid its group, when this process dies.

    A shell waits on a pipe that we alone hold open. Linux's parent-death signal would be sent at
    the end of the thread that started the server, and macOS has none.
    """

    def __init__(self, pid: int) -> None:
        script = 'read -r line; kill -s TERM -- "$0"'
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", script, str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def cut(self) -> None:
        """Let the other process outlive this one."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
