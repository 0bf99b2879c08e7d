"""Serves metrics over HTTP from a thread of its own, on a listening socket that it is given.

One scraper at a time: whoever is slow to ask or to read is cut off after `_PATIENCE_S`.
"""

import contextlib
import logging
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Final
from urllib.parse import urlsplit

from pipeline.about import noted
from pipeline.listening import local
from pipeline.telemetry.exposition import CONTENT_TYPE, Answer

log = logging.getLogger(__name__)

PATH: Final = "/metrics"

#: Between two bytes of a scraper.
_PATIENCE_S: Final = 2.0


class MetricsServer:
    """The thread; `answer` runs in it."""

    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        self._server = _Server(listener, answer)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the socket, which others may have, too."""
        self._closing = True
        # It waits for a scraper, without ever looking up: be one.
        with contextlib.suppress(OSError), socket.create_connection(self._server.here, 1.0):
            pass
        self._thread.join(_PATIENCE_S)
        self._server.server_close()

    def _run(self) -> None:
        while not self._closing:
            self._server.handle_request()


class _Server(socketserver.TCPServer):
    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        super().__init__(listener.getsockname(), _Scrape, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.answer = answer

    @property
    def here(self) -> tuple[str, int]:
        """Where this process itself reaches it."""
        host, port = self.socket.getsockname()[:2]
        return local(host), port

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the library's form
        log.info("Scrape failed", extra=noted(reason=type(sys.exc_info()[1]).__name__))


class _Scrape(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        if urlsplit(self.path).path != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = self.server.answer()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return
