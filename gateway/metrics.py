"""`/metrics`: what this gateway has served, and the state in Redis, for Prometheus."""

import asyncio
import socket

from gateway.exchange import Exchange
from gateway.gateway import Gateway
from gateway.state import RedisState
from pipeline.errors import RouteNotFound
from pipeline.settings.load import is_loopback
from pipeline.telemetry.exposition import CONTENT_TYPE, Exposition
from pipeline.telemetry.serving import MetricsServer
from pipeline.telemetry.tallies import Family
from pipeline.telemetry.traffic import exported, traffic

#: Beyond what looking at Redis may take, before a scrape at our own port is given up.
_MARGIN_S = 1.0


class Metrics:
    """The metrics of one gateway process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._state = RedisState(gateway)
        meter = gateway.meter
        self._exposition = Exposition(self._traffic, *([meter.families] if meter else []))

    async def show(self, exchange: Exchange) -> None:
        """GET /metrics: for operators, or for whoever may reach the other processes' metrics.

        Raises `Forbidden`, `BadToken` and, where metrics are switched off, `RouteNotFound`.
        """
        telemetry = self._gateway.settings.telemetry
        if not telemetry.metrics_port:
            raise RouteNotFound("There are no metrics here: telemetry.metrics_port is 0.")
        if is_loopback(telemetry.metrics_host):
            self._gateway.operators.admit(exchange)
        families = await self._state.families()
        # Writing them takes milliseconds, in which no delta would be relayed.
        content = await asyncio.to_thread(self._exposition.answer, families)
        await exchange.answer(200, content, [(b"content-type", CONTENT_TYPE.encode())])

    def serve(self, listener: socket.socket) -> MetricsServer:
        """Tell them at a socket of our own, too; close the server at the end."""
        loop = asyncio.get_running_loop()
        most_s = self._gateway.pace.metrics_s + _MARGIN_S

        def answer() -> bytes:
            looking = asyncio.run_coroutine_threadsafe(self._state.families(), loop)
            return self._exposition.answer(looking.result(most_s))

        server = MetricsServer(listener, answer)
        server.start()
        return server

    def _traffic(self) -> list[Family]:
        link = self._gateway.link.traffic
        return [
            *traffic(link.commands, link.writes, link.reconnects),
            *exported(*self._gateway.traces.counts),
        ]
