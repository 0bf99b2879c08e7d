"""Counts HTTP exchanges by the template of their route; never by the path that a client wrote."""

import asyncio
from collections.abc import Iterator
from typing import Final

from gateway.exchange import Exchange
from pipeline.telemetry import metrics
from pipeline.telemetry.tallies import Family, Histogram, Tally, single

#: Methods that anything here serves; a client may write any word.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})
_OTHER: Final = "other"


class HttpMeter:
    """The tallies of one gateway process."""

    def __init__(self) -> None:
        self._requests = Tally(metrics.HTTP_REQUESTS)
        self._durations = Histogram(metrics.HTTP_DURATION)
        self._first_bytes = Histogram(metrics.HTTP_FIRST_BYTE)
        self._gone = Tally(metrics.HTTP_GONE)
        #: Exchanges under way.
        self.open = 0

    def ended(self, route: str, exchange: Exchange) -> None:
        """Count an exchange at its end."""
        method = exchange.scope["method"]
        series = route, method if method in _METHODS else _OTHER, str(exchange.status)
        self._requests.values[series] += 1
        took_s = asyncio.get_running_loop().time() - exchange.arrived
        self._durations.of(route).observe(took_s)
        if exchange.began:
            self._first_bytes.of(route).observe(exchange.began - exchange.arrived)
        if exchange.gone:
            self._gone.values[route,] += 1

    def families(self) -> Iterator[Family]:
        """Give everything that has been counted."""
        for tally in (self._requests, self._durations, self._first_bytes, self._gone):
            yield tally.family()
        yield single(metrics.HTTP_OPEN, self.open)
