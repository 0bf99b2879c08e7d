"""Brings traces to a collector, in a thread, and never at anybody's cost.

What waits to be sent is a function that builds the spans: neither that nor the encoding is done on
the event loop. Queue, batches and their bounds are the SDK's batch processor (`OTEL_BSP_…`), the
wire is the SDK's OTLP exporters (`OTEL_EXPORTER_OTLP_…`).
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Final, cast

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from pipeline.settings.load import TelemetrySettings
from pipeline.telemetry.otlp import request_of
from pipeline.telemetry.spans import Spans, Value

#: Builds the spans that are to be sent; None: there are none.
Build = Callable[[], Spans | None]

_VERSION: Final = metadata.version("sluice")
_SAMPLED: Final = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
_HTTP_PORT, _HTTP_PATH = ":4318", "/v1/traces"

#: Legs in one export, and of those with prompts and answers: collectors take 4 MiB at once, and a
#: call over gRPC costs as much as a dozen legs.
_BATCH, _BATCH_WITH_CONTENT = 256, 32

#: How long stopping waits for a collector, in seconds.
_FAREWELL_S: Final = 1.5

#: A thread that encodes lets the event loop in after so long; Python's own 5 ms would be seen.
_SWITCH_S: Final = 0.0005


class _Pending(ReadableSpan):
    """What the batch processor takes for a span: the building of some."""

    def __init__(self, build: Build) -> None:
        super().__init__("pending", context=_SAMPLED, resource=_NO_RESOURCE)
        self.build = build


_NO_RESOURCE: Final = Resource({})


class _Writing:
    """Encodes what is pending, and counts what became of it."""

    def __init__(self, resource: Mapping[str, Value]) -> None:
        self._resource = resource
        self._spans = self.sent = self.lost = 0

    def __call__(self, pending: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        self._spans = 0
        return request_of(self._resource, self._trees(pending), _VERSION)

    def _trees(self, pending: Sequence[ReadableSpan]) -> Iterator[Spans]:
        """Build one after the other: each is gone when the next one comes."""
        for one in pending:
            tree = cast("_Pending", one).build()
            if tree:
                self._spans += len(tree.spans)
                yield tree

    def ended(self, result: SpanExportResult) -> SpanExportResult:
        """Note how the export of what was encoded last has ended."""
        if result is SpanExportResult.SUCCESS:
            self.sent += self._spans
        else:
            self.lost += self._spans
        return result


class _GrpcExporter(Grpc):
    """The SDK's exporter over gRPC, with our encoding."""

    def __init__(self, settings: TelemetrySettings, write: _Writing) -> None:
        super().__init__(endpoint=settings.otlp_endpoint, timeout=settings.timeout_s)
        self._write = write
        self._written: tuple[int, ExportTraceServiceRequest] | None = None

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        # It asks again with each new attempt at the same batch.
        if self._written is None or self._written[0] != id(data):
            self._written = id(data), self._write(data)
        return self._written[1]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            return self._write.ended(super().export(spans))
        finally:
            self._written = None


class _HttpExporter(Http):
    """The SDK's exporter over HTTP, with our encoding."""

    def __init__(self, settings: TelemetrySettings, write: _Writing) -> None:
        base = settings.otlp_endpoint.rstrip("/")
        endpoint = base if base.endswith(_HTTP_PATH) else f"{base}{_HTTP_PATH}"
        super().__init__(endpoint=endpoint, timeout=settings.timeout_s)
        self._write = write

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._shutdown:
            return SpanExportResult.FAILURE
        sent = self._client.export(self._write(spans).SerializeToString())
        kinds = SpanExportResult
        return self._write.ended(kinds.SUCCESS if sent.success else kinds.FAILURE)


class Exporting:
    """The way of one process's traces to the collector; open it after any fork."""

    def __init__(self, settings: TelemetrySettings, part: str, instance: str = "") -> None:
        self._write = _Writing(_resource(part, instance or f"{socket.gethostname()}-{os.getpid()}"))
        exporter = _exporter_class(settings)(settings, self._write)
        self._exporter = exporter
        legs = _BATCH_WITH_CONTENT if settings.capture_content else _BATCH
        self._processor = BatchSpanProcessor(exporter, max_export_batch_size=legs)
        self._closed = False
        sys.setswitchinterval(_SWITCH_S)

    @property
    def counts(self) -> tuple[int, int]:
        """Count the spans that a collector took, and those that none did."""
        return self._write.sent, self._write.lost

    def emit(self, build: Build) -> None:
        """Have spans built and sent soon; never waits."""
        if not self._closed:
            self._processor.on_end(_Pending(build))

    def close(self) -> None:
        """Send what is left, as far as the collector takes it within a moment. Blocks so long."""
        self._closed = True
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(_FAREWELL_S)
        if ending.is_alive():
            # What it still tries fails at once from now on.
            self._exporter.shutdown()
            ending.join(_FAREWELL_S)


def _exporter_class(settings: TelemetrySettings) -> type[_GrpcExporter] | type[_HttpExporter]:
    by_port = settings.otlp_endpoint.endswith((_HTTP_PORT, _HTTP_PATH))
    protocol = settings.protocol or ("http/protobuf" if by_port else "grpc")
    return _GrpcExporter if protocol == "grpc" else _HttpExporter


def _resource(part: str, instance: str) -> dict[str, Value]:
    """Describe this process; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go before."""
    ours = {
        "service.name": f"sluice-{part}",
        "service.namespace": "sluice",
        "service.version": _VERSION,
        "service.instance.id": instance,
    }
    given = OTELResourceDetector().detect().attributes
    told = {name: value for name, value in given.items() if isinstance(value, str)}
    return {**ours, **told, "sluice.part": part}
