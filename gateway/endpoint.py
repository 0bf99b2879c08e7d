"""A route's end: picks what serves the method, and turns what goes wrong into an answer."""

import logging
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from gateway.errors import BROKEN, error_json, refuse, retry_headers
from gateway.exchange import JSON_TYPE, ClientGone, Exchange
from gateway.http_meter import RouteMeter
from pipeline.about import noted
from pipeline.errors import MethodNotAllowed, SluiceError

log = logging.getLogger(__name__)

Serve = Callable[[Exchange], Awaitable[None]]


class Endpoint:
    """An ASGI application of one path, with a function for each method."""

    def __init__(
        self,
        *,
        get: Serve | None = None,
        post: Serve | None = None,
        patch: Serve | None = None,
        delete: Serve | None = None,
        other: Serve | None = None,
    ) -> None:
        served = {"GET": get, "HEAD": get, "POST": post, "PATCH": patch, "DELETE": delete}
        self._serve = {method: serve for method, serve in served.items() if serve}
        self._other = other
        #: Counts each exchange; None: nobody wants to know.
        self.meter: RouteMeter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a bug is answered, too, and goes on to the server's log."""
        exchange = Exchange(scope, receive, send)
        if self.meter is None:
            await self._serve_one(exchange)
            return
        self.meter.open += 1
        try:
            await self._serve_one(exchange)
        finally:
            self.meter.ended(exchange)

    async def _serve_one(self, exchange: Exchange) -> None:
        try:
            await self._answer(exchange)
        except SluiceError as error:
            _note(exchange, error)
            if not exchange.started:
                await refuse(exchange, error.failure())
        except ClientGone:
            exchange.gone = True
        finally:
            if not (exchange.finished or exchange.gone):
                await _collapse(exchange)
            if exchange.on_end:
                exchange.on_end()

    async def _answer(self, exchange: Exchange) -> None:
        method: str = exchange.scope["method"]
        serve = self._serve.get(method, self._other)
        if serve is not None:
            await serve(exchange)
            return
        allowed = ", ".join(self._serve)
        failure = MethodNotAllowed(f"{method} is not allowed here; use {allowed}.").failure()
        body = error_json(failure, exchange.request_id)
        headers = [JSON_TYPE, (b"allow", allowed.encode()), *retry_headers(failure)]
        await exchange.answer(failure.status, body, headers)


def _note(exchange: Exchange, error: SluiceError) -> None:
    """Log a refusal; its words may quote what the client sent, and are left out."""
    level = logging.WARNING if error.status >= 500 else logging.DEBUG
    if log.isEnabledFor(level):
        told = noted(request=exchange.request_id, status=error.status, code=error.code)
        log.log(level, "Request was refused", extra=told)


async def _collapse(exchange: Exchange) -> None:
    if not exchange.started:
        await refuse(exchange, BROKEN)
    elif exchange.closing_frame:
        await exchange.finish(exchange.closing_frame())
