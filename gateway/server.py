"""The gateway process: uvicorn over one socket, from its start-up line to its orderly end."""

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from gateway.app import build
from gateway.gateway import Gateway
from gateway.listening import inherited, listen
from gateway.metrics import Metrics
from pipeline.about import noted
from pipeline.errors import SluiceError, StartError
from pipeline.listening import url_of
from pipeline.settings.children import part_name
from pipeline.settings.load import Settings, is_loopback, load
from pipeline.telemetry.listening import handed_down
from pipeline.telemetry.logs import configure

log = logging.getLogger(__name__)

#: Longer than clients keep idle connections: they must not meet one that we are closing.
_KEEP_ALIVE_S: Final = 75

#: New objects after which the collector looks at them; Python's own number is 700.
_YOUNG_OBJECTS: Final = 20_000

#: What is left of the grace for telling everyone that it is over, in seconds.
_FAREWELL_S: Final = 2


#: Makes the gateway, on the loop that it is to run on; tests make theirs in their own way.
Make = Callable[[Settings], Gateway]


class Server(uvicorn.Server):
    """uvicorn's server, with our start-up line, our farewell and our exit code."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve and say where."""
        await super().startup(sockets)
        for bound in sockets or ():
            print(f"Gateway listens on {url_of(bound)}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more; who is still open after the grace is told that it is over."""
        log.info("Gateway stopped accepting", extra=noted(open=len(self._gateway.hearings)))
        loop = asyncio.get_running_loop()
        farewell = loop.call_later(self._gateway.pace.grace_s, self._gateway.end_all)
        await super().shutdown(sockets)
        farewell.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order on SIGTERM and SIGINT; uvicorn would then die of the signal after all."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def serve(settings: Settings, bound: socket.socket, make: Make = Gateway) -> None:
    """Serve on a listening socket until told to stop. Raises `StartError`."""
    gateway = make(settings)
    await gateway.open()
    metrics, scraped = Metrics(gateway), handed_down()
    own_port = metrics.serve(scraped) if scraped else None
    try:
        config = uvicorn.Config(
            build(gateway, metrics),
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            http="httptools",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(gateway.pace.grace_s) + _FAREWELL_S,
        )
        _calm_collector()
        await Server(config, gateway).serve([bound])
    finally:
        if own_port:
            await asyncio.to_thread(own_port.close)
        await gateway.close()


def _calm_collector() -> None:
    """Let the garbage collector look more rarely: nearly nothing of ours is in cycles.

    With 5,000 streams open it took 30 % of the CPU at Python's own thresholds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)


def run(settings: Settings, *, fd: int | None = None, make: Make = Gateway) -> None:
    """Run a gateway in this process, on its own socket or one that was handed down as `fd`.

    Returns after SIGTERM or SIGINT. Raises `StartError` with one line when it cannot start.
    """
    gateway = settings.gateway
    if not (settings.tenants or gateway.open or is_loopback(gateway.host)):
        raise StartError(
            f"gateway.host {gateway.host} can be reached by others and no tenants are configured; "
            "configure tenants, or set gateway.open: true to let anyone in."
        )
    if fd is None:
        bound = listen(gateway.host, gateway.port, shared=gateway.processes > 1)
    else:
        bound = inherited(fd)
    with bound:
        uvloop.run(serve(settings, bound, make))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m gateway`; gives the exit code."""
    parser = argparse.ArgumentParser(prog="gateway", description="The HTTP gateway of Sluice.")
    parser.add_argument("--config", type=Path, help="the configuration file")
    parser.add_argument("--redis-url", help="Redis to work on")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", help="port to listen on")
    parser.add_argument("--fd", type=int, help="listening socket handed down by a supervisor")
    given = parser.parse_args(arguments)
    asked = {
        "redis.url": given.redis_url, "gateway.host": given.host, "gateway.port": given.port,
    }  # fmt: skip
    overrides = {path: text for path, text in asked.items() if text}
    read = partial(load, given.config, overrides=overrides)
    try:
        settings = read()
        configure(part_name("gateway"), settings.telemetry)
        run(settings, fd=given.fd, make=partial(Gateway, read=read))
    except SluiceError as error:
        print(f"gateway: {error.message}", file=sys.stderr)
        return 1
    return 0
