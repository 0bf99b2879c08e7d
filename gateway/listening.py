"""The listening socket: made once, so that a taken port is one clear error, and shared by fd.

Several gateway processes serve one port: each with a socket of its own and SO_REUSEPORT, so that
the kernel spreads connections over them, or with one that a supervisor hands down.
"""

import socket

from pipeline import listening
from pipeline.errors import StartError


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind a host and port; 0 takes a free one. Raises `StartError` that names the port.

    Not accepting yet would leave early clients hanging; they are queued until we serve. `shared`
    lets other processes of the same user bind the port in the same way.
    """
    try:
        return listening.listen(host, port, shared=shared)
    except OSError as error:
        raise StartError(
            f"The gateway cannot listen on {host} port {port}: {error.strerror}. "
            "Stop what uses it, or choose another with gateway.port."
        ) from error


def inherited(descriptor: int) -> socket.socket:
    """Take over a listening socket that a supervisor has handed down. Raises `StartError`."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise StartError(f"File descriptor {descriptor} is no socket: {error.strerror}") from error
