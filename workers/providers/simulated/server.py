"""The simulated provider: a real HTTP server in the providers' own forms that calls no model.

`serve` runs it until a signal; `python -m workers.providers.simulated --help` tells the options.
"""

import argparse
import gc
import signal
import socket
import sys
from collections.abc import Sequence

import msgspec
import uvicorn

from pipeline import listening
from workers.providers.simulated.app import Simulator
from workers.providers.simulated.faults import (
    BadOptionError,
    Behaviour,
    describe,
    layer,
    read_pairs,
)

#: Seconds that open answers are given after a signal.
GRACE_S = 1
#: Idle connections are the client's to close: closing first would race with its next request.
KEEP_ALIVE_S = 3600
#: Connections that may wait for `accept`: load tests open thousands at a time.
BACKLOG = 4096

_WAYS = """\
options for --set NAME=VALUE, a model's name (sim:NAME=VALUE,NAME=VALUE), the request's object
`simulate` and its header X-Simulate; for all calls to come PUT /behaviour with an object of
them, {} for those it was started with (GET /behaviour tells them, GET /calls counts the calls):"""


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the simulated provider listens, and how its calls go unless they ask otherwise."""

    host: str = "127.0.0.1"
    #: 0 takes a free port; the start-up line tells it.
    port: int = 8081
    behaviour: Behaviour = Behaviour()
    #: Makes chances and ids the same in every run.
    seed: int | None = None


def serve(options: SimulatorOptions) -> None:
    """Serve until SIGTERM or SIGINT, then return; answers under way are given GRACE_S.

    An address that cannot be had ends the process: one line on stderr, exit code 1.
    """
    listener = _listen(options.host, options.port)
    app = Simulator(options.behaviour, options.seed)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    _stop_on_signals(server)
    print(f"simulated provider on {listening.url_of(listener)}/v1", flush=True)
    _calm_collector()
    server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listening.listen(host, port)
    except OSError as error:
        sys.exit(f"simulated provider: cannot listen on {host} port {port}: {error.strerror}")


def _calm_collector() -> None:
    """Let the garbage collector run seldom.

    Measured while 5,000 streams opened: with its default thresholds the median first token came
    after 1 to 220 ms, run by run, with these after 0.5 ms.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _stop_on_signals(server: uvicorn.Server) -> None:
    """Stop on the signals that arrive before uvicorn listens to them, and when it repeats them.

    Uvicorn raises a caught signal again at its end, which would kill the process by default.
    """

    def stop(_signal: int, _frame: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulated provider from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.providers.simulated",
        description="A provider that simulates its answers, in OpenAI's form and in others'.",
        epilog=f"{_WAYS}\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0 takes a free one")
    parser.add_argument("--seed", type=int, help="make every run the same")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    try:
        behaviour = layer(Behaviour(), read_pairs(",".join(given.set)))
    except BadOptionError as error:
        parser.error(str(error))
    serve(SimulatorOptions(host=given.host, port=given.port, behaviour=behaviour, seed=given.seed))
