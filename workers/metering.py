"""What a worker process tells Prometheus, on a socket of its own."""

import socket
from collections.abc import Iterator

from pipeline.current import Current
from pipeline.flow import BY_NAME
from pipeline.streams.engine import Engine
from pipeline.streams.link import Link
from pipeline.streams.replies import Replies
from pipeline.telemetry import metrics
from pipeline.telemetry.exposition import Exposition
from pipeline.telemetry.meter import Meter
from pipeline.telemetry.serving import MetricsServer
from pipeline.telemetry.tallies import Family, Tally, single
from pipeline.telemetry.traffic import exported, traffic
from workers.traces import Traces


class Metering:
    """The metrics of one worker process; serves them from when it is made until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        current: Current,
        engine: Engine,
        link: Link,
        replies: Replies,
        traces: Traces,
    ) -> None:
        self._engine = engine
        self._traces = traces
        self._link = link
        self._replies = replies
        meter = Meter()
        current.follow(meter.go_by)
        engine.observe(meter.passed)
        exposition = Exposition(meter.families, self._beside)
        self._server = MetricsServer(listener, exposition.answer)
        self._server.start()

    def close(self) -> None:
        """Serve no more; takes a moment."""
        self._server.close()

    def _beside(self) -> Iterator[Family]:
        """Give what is counted without a passage."""
        refused, running = Tally(metrics.TRANSITIONS_REFUSED), Tally(metrics.RUNNING)
        # Copies, each made in one step: this runs in a thread beside the loop that counts.
        times, held = dict(self._engine.refused), dict(self._engine.holdings.held)
        for hop in BY_NAME:
            refused.values[hop,] = times.get(hop, 0)
            running.values[hop,] = held.get(hop, 0)
        yield refused.family()
        yield running.family()
        yield single(metrics.REPLY_FLUSHES, self._replies.flushes)
        yield single(metrics.REPLY_DELTAS, self._replies.deltas)
        link = self._link.traffic
        yield from traffic(link.commands, link.writes, link.reconnects)
        yield from exported(*self._traces.counts)
