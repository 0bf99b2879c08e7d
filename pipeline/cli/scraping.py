"""Where each process that a supervisor starts serves its metrics, and where all are read at once.

The sockets are the supervisor's, bound before anything starts: who is started anew goes on with
the one of who was there before.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from pipeline import listening
from pipeline.cli.child import Part
from pipeline.settings.children import with_metrics
from pipeline.settings.load import Settings
from pipeline.telemetry.listening import listen
from pipeline.telemetry.merging import Merged
from pipeline.telemetry.serving import PATH, MetricsServer


@contextmanager
def listeners(settings: Settings, count: int) -> Iterator[list[socket.socket]]:
    """Listen on so many ports in a row, from `telemetry.metrics_port` on; on none where it is 0.

    Raises StartError, which names the port that is taken.
    """
    first = settings.telemetry.metrics_port
    with ExitStack() as bound:
        yield [
            bound.enter_context(listen(settings.telemetry.metrics_host, first + number, number))
            for number in range(count if first else 0)
        ]


def scraped(parts: Sequence[Part], sockets: Sequence[socket.socket]) -> list[Part]:
    """Give parts, each with one of the sockets; without any, as they are."""
    if not sockets:
        return [*parts]
    return [_scraped(part, bound) for part, bound in zip(parts, sockets, strict=True)]


def _scraped(part: Part, bound: socket.socket) -> Part:
    return msgspec.structs.replace(
        part,
        environment=with_metrics(part.environment, bound.fileno()),
        descriptors=(*part.descriptors, bound.fileno()),
        address=part.address or url_of(bound),
    )


@contextmanager
def one_place(sockets: Sequence[socket.socket], parts: Sequence[Part]) -> Iterator[None]:
    """Tell at the first of the sockets what the parts tell at the others; without any, nothing."""
    if not sockets:
        yield
        return
    first, *others = sockets
    places = {part.name: _place(bound) for part, bound in zip(parts, others, strict=True)}
    server = MetricsServer(first, Merged(places).answer)
    server.start()
    try:
        yield
    finally:
        server.close()


def url_of(bound: socket.socket) -> str:
    """Give the address at which this machine reads the metrics of a socket."""
    return listening.url_of(bound) + PATH


def _place(bound: socket.socket) -> tuple[str, int]:
    host, port = bound.getsockname()[:2]
    return listening.local(host), port
