"""The gateway's part in traces: the decision at the door, the SERVER span, the delivery.

A request's root has to hold all of its spans. Where a client leaves before its request has ended,
the root is told once that has: until then somebody listens for the end.
"""

import asyncio
import contextlib
from functools import partial
from typing import Final

import msgspec

from gateway.asking import caller_of
from gateway.exchange import Exchange
from pipeline import clock, tracing
from pipeline.errors import SluiceError
from pipeline.event import Closing, Event, Trace
from pipeline.names import Names
from pipeline.settings.load import TelemetrySettings
from pipeline.streams.inbox import CLOSING, Inbox, Watch
from pipeline.streams.link import Link, LinkError
from pipeline.telemetry import names
from pipeline.telemetry.codes import word_of
from pipeline.telemetry.spans import Span, Spans, Value
from pipeline.telemetry.tracer import Exporter, open_exporter, sampler_of

#: How long after its deadline a request's end is waited for, in seconds.
_LATE_S: Final = 30.0

_COMMENT: Final = b":"

_decode_closing: Final = msgspec.json.Decoder(Closing).decode


class Served:
    """One exchange that is traced, from its head to its last byte."""

    def __init__(self, exchange: Exchange, trace: Trace) -> None:
        self.trace = trace
        self.start = clock.now()
        #: The event that was accepted; none: nothing was, or another request answers.
        self.event: Event | None = None
        #: How the request ended, once that is known.
        self.closing: Closing | None = None
        self._exchange = exchange
        self._began = self._first = self._end = 0.0
        self._chunks = self._bytes = 0

    def began(self) -> None:
        """Note that the answer has begun."""
        self._began = clock.now()

    def wrote(self, data: bytes) -> None:
        """Note a part of the answer."""
        self._bytes += len(data)
        if not data.startswith(_COMMENT):
            self._first = self._first or clock.now()
            self._chunks += data.count(b"\n\n")

    def ended(self) -> None:
        """Note that the exchange is over."""
        self._end = clock.now()

    @property
    def is_root(self) -> bool:
        """Whether the SERVER span is the root of all."""
        return self.event is None or self._trace.served

    @property
    def _trace(self) -> Trace:
        return (self.event and self.event.trace) or self.trace

    def spans(self) -> Spans:
        """Tell of the exchange."""
        trace, root = self._trace, tracing.span_id_of(self._trace.root)
        start, ended = self.start, self.closing.ended if self.closing else 0.0
        if self.is_root:
            span_id, parent, end = root, trace.parent, max(self._end, ended)
        else:
            # Its parent is the request, and has nothing to tell beyond that.
            span_id, parent = tracing.child_id(trace.root, "server"), root
            end = min(self._end, ended) if ended else self._end
            start = self.event.created if self.event else start
        route = self._exchange.scope["path"]
        server = Span(
            name=f"POST {route}",
            kind="server",
            id=span_id,
            parent=parent,
            is_remote=self.is_root,
            start=start,
            end=max(start, end),
            attributes=self._attributes(route),
            error=self._error(),
        )
        return Spans(trace_id=trace.id, state=trace.state, spans=[server, *self._delivery(server)])

    def _delivery(self, server: Span) -> list[Span]:
        if not self._began or self._exchange.status == 202:
            return []
        start = min(self._began, server.end)
        told: dict[str, Value] = {
            names.SSE_BYTES: self._bytes,
            names.CLIENT_GONE: self._exchange.gone,
        }
        if self._chunks:
            told[names.SSE_CHUNKS] = self._chunks
        return [
            Span(
                name="deliver",
                kind="internal",
                id=tracing.child_id(self._trace.root, "deliver"),
                parent=server.id,
                start=start,
                end=max(start, min(self._end, server.end)),
                attributes=told,
            )
        ]

    def _attributes(self, route: str) -> dict[str, Value]:
        exchange, event, closing = self._exchange, self.event, self.closing
        told: dict[str, Value] = {
            names.HTTP_METHOD: "POST",
            names.HTTP_ROUTE: route,
            names.REQUEST_ID: exchange.request_id,
        }
        if exchange.status:
            told[names.HTTP_STATUS] = exchange.status
        if exchange.repeats:
            told[names.REPLAYED] = True
        if event:
            told |= {names.MODEL: event.model, names.STREAM: event.stream}
            if event.tenant:
                told[names.TENANT] = event.tenant
        if self._first and event and event.stream and exchange.status == 200:
            told[names.FIRST_CHUNK] = round((self._first - self.start) * 1000, 2)
        if exchange.gone:
            told[names.CLIENT_GONE] = True
        if error := self._error():
            told[names.ERROR_TYPE] = error
        return told | (self._outcome(closing) if closing else {})

    def _outcome(self, closing: Closing) -> dict[str, Value]:
        """Tell how the request ended; of one that has climbed, where it went on."""
        told: dict[str, Value] = {names.OUTCOME: closing.status, names.LEG: 1}
        summary = closing.summary
        if summary:
            told[names.ATTEMPTS] = summary.attempts
            if summary.cost:
                told[names.COST] = summary.cost
        if self.event and self.is_root and closing.leg > 1:
            following = tracing.on_next_leg(msgspec.structs.replace(self.event, leg=2))
            assert following.trace is not None
            told[names.NEXT_TRACE] = following.trace.id
            told[names.NEXT_SPAN] = tracing.span_id_of(following.trace.root)
        return told

    def _error(self) -> str:
        """Name the error that the client got; a refusal of what it asked is none of ours."""
        failure = self.closing.failure if self.closing else None
        if failure and failure.status >= 500:
            return word_of(failure)
        status = self._exchange.status
        return str(status) if status >= 500 else ""


class Traces:
    """Decides about requests at the door, and tells of their exchanges."""

    def __init__(self, settings: TelemetrySettings, redis_names: Names) -> None:
        self._settings = settings
        self._names = redis_names
        self._sampler = sampler_of(settings)
        self._exporter: Exporter | None = None
        self._listening: set[asyncio.Task[None]] = set()

    def open(self, link: Link, inbox: Inbox) -> None:
        """Begin to export."""
        self._link, self._inbox = link, inbox
        self._exporter = open_exporter(self._settings, "gateway")

    @property
    def counts(self) -> tuple[int, int]:
        """Count the spans that a collector took, and those that none did."""
        return self._exporter.counts if self._exporter else (0, 0)

    async def close(self) -> None:
        """Tell what is still to be told."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        if self._exporter:
            await asyncio.to_thread(self._exporter.close)

    def begin(self, exchange: Exchange) -> None:
        """Decide whether a request is traced, by its headers or by chance."""
        if self._exporter is None:
            return
        caller = caller_of(exchange)
        if self._sampler.takes(caller.traceparent):
            trace = tracing.begin(caller, f"{exchange.request_id}/1", served=True)
            exchange.served = Served(exchange, trace)
            exchange.on_end = partial(self._end, exchange.served)

    def _end(self, served: Served) -> None:
        served.ended()
        event = served.event
        if event is None or served.closing or not served.is_root:
            self._tell(served)
            return
        task = asyncio.create_task(self._until_ended(served, event), name="trace")
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)

    def _tell(self, served: Served) -> None:
        if self._exporter:
            self._exporter.emit(served.spans)

    async def _until_ended(self, served: Served, event: Event) -> None:
        """Listen for the end of a request that goes on without its client."""
        left_s = event.deadline - clock.now()
        try:
            with contextlib.suppress(LinkError, SluiceError, TimeoutError):
                async with asyncio.timeout(max(0.0, left_s) + _LATE_S):
                    served.closing = await self._closing(event.id)
        finally:
            self._tell(served)

    async def _closing(self, request_id: str) -> Closing | None:
        turn = await self._link.call("HGET", self._names.record(request_id), "turn")
        before = f"{(turn or b'1').decode()}{CLOSING - 1}-0"
        watch: Watch = self._inbox.watch(request_id, before)
        try:
            await watch.resume()
            frame = await watch.next()
            return _decode_closing(frame.lines) if frame.kind == "closing" else None
        finally:
            watch.close()
