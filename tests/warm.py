"""`python -P -c "from tests.warm import serve; serve()"`: has imported everything, and forks.

Each process of a test is a process of its own, as it is a user's; only what Python spends on
importing it, up to two seconds of CPU a thousand times over, is spent once.
"""

import atexit
import gc
import importlib
import os
import pkgutil
import random
import runpy
import selectors
import signal
import sys
import threading
import traceback
from typing import Final, NoReturn

import msgspec

import pipeline.cli
from pipeline import clock

#: All that the parts import, but not what runs when it is imported.
_MODULES: Final = (
    "dramatiq.cli", "gateway.server", "tests.gateway.standin_view", "uvicorn.lifespan.off",
    "uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl", "workers.call",
    "workers.gate", "workers.process", "workers.providers.simulated.app", "workers.respond",
    "workers.route",
)  # fmt: skip


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A process to start."""

    number: int
    #: `-m`, a module and arguments, or `-c`, code and arguments: as Python takes them.
    run: list[str]
    folder: str
    environment: dict[str, str]
    #: Files that are its streams.
    stdin: str
    stdout: str
    stderr: str
    #: Whether it is to lead a session of its own.
    leads: bool = False


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That an order's process was started, or how one has ended."""

    pid: int
    number: int = 0
    #: Its exit code, or less a signal's number.
    code: int | None = None


_orders: Final = msgspec.json.Decoder(Order)


def serve() -> None:
    """Fork for each line of stdin, and tell of each start and end, until stdin ends."""
    for module in pkgutil.iter_modules(pipeline.cli.__path__, "pipeline.cli."):
        importlib.import_module(module.name)
    for name in _MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # The test that is interrupted ends what it has started; this ends with the tests.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        _attend(selector, woken)


def _attend(selector: selectors.BaseSelector, woken: int) -> None:
    waiting = b""
    while True:
        for key, _ in selector.select():
            if key.fd == woken:
                os.read(woken, 4096)
                _reap()
                continue
            chunk = os.read(0, 1 << 20)
            if not chunk:
                return
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                _fork(_orders.decode(line))


def _fork(order: Order) -> None:
    pid = os.fork()
    if pid == 0:
        _become(order)
    _tell(Told(pid=pid, number=order.number))


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(Told(pid=pid, code=os.waitstatus_to_exitcode(status)))


def _tell(told: Told) -> None:
    os.write(1, msgspec.json.encode(told) + b"\n")


def _become(order: Order) -> NoReturn:
    """Be the process, from its first line to its last."""
    code = 1
    try:
        _settle(order)
        code = _run(order)
    finally:
        os._exit(code)


def _settle(order: Order) -> None:
    if order.leads:
        os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    appended = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    streams = ((order.stdin, os.O_RDONLY), (order.stdout, appended), (order.stderr, appended))
    opened = [os.open(path, flags, 0o600) for path, flags in streams]
    for number, descriptor in enumerate(opened):
        os.dup2(descriptor, number)
    os.closerange(3, 256)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    # Else all would make the same ids.
    clock.chance.seed()
    random.seed()


def _run(order: Order) -> int:
    kind, what, *arguments = order.run
    code = 0
    try:
        sys.argv = [kind, *arguments]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = _code_of(end)
    except BaseException:  # what Python itself does with it
        traceback.print_exc()
        code = 1
        raise
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _code_of(end: SystemExit) -> int:
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
        return 1
    return end.code or 0
