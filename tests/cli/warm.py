"""`python -P -m tests.cli.warm`: a process that has imported the command, and forks it when asked.

Each `sluice` of a test is a process of its own, as it is a user's; only what Python spends on
importing it (half a second of CPU, hundreds of times) is spent once.
"""

import importlib
import os
import pkgutil
import sys
import traceback
from typing import Final, NoReturn

import msgspec

import pipeline.cli
from pipeline import clock
from pipeline.cli.app import main


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A command to run."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    #: Files that are its streams.
    stdin: str
    stdout: str
    stderr: str


class Done(msgspec.Struct, frozen=True):
    """That it has been started, or how it has ended; a signal's number is negative."""

    pid: int
    code: int | None = None


_orders: Final = msgspec.json.Decoder(Order)


def serve() -> None:
    """Fork for each line of stdin; tell the process's id, and at its end its exit code."""
    for module in pkgutil.iter_modules(pipeline.cli.__path__, "pipeline.cli."):
        importlib.import_module(module.name)
    for line in sys.stdin.buffer:
        order = _orders.decode(line)
        if (pid := os.fork()) == 0:
            _become(order)
        _tell(Done(pid))
        _, status = os.waitpid(pid, 0)
        _tell(Done(pid, os.waitstatus_to_exitcode(status)))


def _tell(done: Done) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
    sys.stdout.buffer.flush()


def _become(order: Order) -> NoReturn:
    """Be the command, from its first to its last line."""
    for number, (path, flags) in enumerate(
        (
            (order.stdin, os.O_RDONLY),
            (order.stdout, os.O_WRONLY | os.O_CREAT),
            (order.stderr, os.O_WRONLY | os.O_CREAT),
        )
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv = ["-c", *order.arguments]
    # Else all would make the same ids.
    clock.chance.seed()
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
