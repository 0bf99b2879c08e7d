"""Counts HTTP exchanges by the template of their route; never by the path that a client wrote."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from gateway.exchange import Exchange
from pipeline.telemetry import metrics
from pipeline.telemetry.tallies import Family, Histogram, Tally, single

#: Methods that anything here serves; a client may write any word.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})
_OTHER: Final = "other"


class RouteMeter:
    """What is counted of one route."""

    def __init__(self, durations: Histogram, first_bytes: Histogram, route: str) -> None:
        self.route = route
        #: Exchanges that have ended, by method and status, and clients that hung up.
        self.ends: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.gone = 0
        #: Exchanges under way.
        self.open = 0
        self._durations = durations
        self._first_bytes = first_bytes

    def ended(self, exchange: Exchange) -> None:
        """Count an exchange at its end."""
        self.open -= 1
        self.ends[exchange.scope["method"], exchange.status] += 1
        took_s = asyncio.get_running_loop().time() - exchange.arrived
        self._durations.of(self.route).observe(took_s)
        if exchange.began:
            first_byte_s = exchange.began - exchange.arrived
            self._first_bytes.of(self.route).observe(first_byte_s)
        if exchange.gone:
            self.gone += 1


class HttpMeter:
    """The tallies of one gateway process."""

    def __init__(self) -> None:
        self._durations = Histogram(metrics.HTTP_DURATION)
        self._first_bytes = Histogram(metrics.HTTP_FIRST_BYTE)
        self._routes: list[RouteMeter] = []

    def route(self, template: str) -> RouteMeter:
        """Make the meter of a route."""
        made = RouteMeter(self._durations, self._first_bytes, template)
        self._routes.append(made)
        return made

    def families(self) -> Iterator[Family]:
        """Give everything that has been counted."""
        requests, gone = Tally(metrics.HTTP_REQUESTS), Tally(metrics.HTTP_GONE)
        for one in self._routes:
            for (method, status), times in dict(one.ends).items():
                named = method if method in _METHODS else _OTHER
                requests.values[one.route, named, str(status)] += times
            if one.ends:
                gone.values[one.route,] = one.gone
        for tally in (requests, gone, self._durations, self._first_bytes):
            yield tally.family()
        yield single(metrics.HTTP_OPEN, sum(one.open for one in self._routes))
