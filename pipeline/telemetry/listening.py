"""The socket on which a process serves its metrics: handed down, or its own."""

import logging
import os
import socket
import stat

from pipeline import listening
from pipeline.about import noted
from pipeline.errors import StartError
from pipeline.settings.children import metrics_descriptor, names_metrics_port
from pipeline.settings.load import TelemetrySettings

log = logging.getLogger(__name__)


def handed_down() -> socket.socket | None:
    """Take over the socket that a supervisor has handed down; none: there is none."""
    descriptor = metrics_descriptor()
    if descriptor is None:
        return None
    try:
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        is_socket = False
    if is_socket:
        return socket.socket(fileno=descriptor)
    log.warning("Metrics socket was not handed down", extra=noted(descriptor=descriptor))
    return None


def own(telemetry: TelemetrySettings) -> socket.socket | None:
    """Listen where this process's environment says so; none: it does not, or says 0.

    The file alone does not count: it is for all processes, and they cannot share a port.
    Raises `StartError`.
    """
    if not (telemetry.metrics_port and names_metrics_port()):
        return None
    return listen(telemetry.metrics_host, telemetry.metrics_port)


def listen(host: str, port: int, further: int = 0) -> socket.socket:
    """Listen for scrapers, on a port that is so many behind the configured one.

    Raises `StartError`, which names the port and the setting.
    """
    try:
        return listening.listen(host, port)
    except OSError as error:
        setting = "telemetry.metrics_port" + (f" + {further}" if further else "")
        raise StartError(
            f"port {port} on {host} is needed for metrics ({setting}: {error.strerror}): end what "
            "listens there, or set telemetry.metrics_port to another port, or to 0 for no metrics"
        ) from None
