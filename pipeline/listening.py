"""Listening: one way for all parts, each of which says in its own words why it could not."""

import errno
import socket
from typing import Final

#: Connections that may wait for `accept`: bursts come before a part is up, and while it is busy.
_BACKLOG: Final = 2048

_LAST_PORT: Final = 65_535


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Listen on a host and port; 0 takes a free one, and `::` IPv4 as well.

    `shared` lets other processes of the same user bind the port in the same way. Raises `OSError`
    whose `strerror` is the bare reason.
    """
    if not 0 <= port <= _LAST_PORT:
        raise OSError(errno.EINVAL, "there is no such port")
    is_v6 = ":" in host
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if is_v6 else socket.AF_INET,
            backlog=_BACKLOG,
            reuse_port=shared,
            dualstack_ipv6=is_v6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        # Python adds the address, which whoever listens names better.
        reason, _, _ = (error.strerror or str(error)).partition(" (while ")
        raise OSError(error.errno, reason) from None


def local(host: str) -> str:
    """Give the host by which this machine reaches one that may stand for all its addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - nothing is opened here


def local_url(host: str, port: int) -> str:
    """Give the address at which this machine reaches what listens there."""
    near = local(host)
    return f"http://{f'[{near}]' if ':' in near else near}:{port}"


def url_of(bound: socket.socket) -> str:
    """Give the address at which this machine reaches a listening socket."""
    host, port, *_ = bound.getsockname()
    return local_url(host, port)
