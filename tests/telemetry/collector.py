"""An OTLP collector for the tests, over gRPC and over HTTP, that keeps what it is sent."""

import http.server
import threading
from collections.abc import Iterable
from concurrent import futures
from types import TracebackType
from typing import Self

import grpc
import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.waiting import eventually

_KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


class Link(msgspec.Struct, frozen=True):
    """A link, by the hex ids that it names."""

    trace: str
    span: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it arrived; times are Unix nanoseconds, ids hex."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    start: int
    end: int
    state: str
    attributes: dict[str, object]
    error: str
    moments: tuple[str, ...]
    links: tuple[Link, ...]
    part: str
    resource: dict[str, object]


class Collector:
    """Collects spans on loopback; `url` is its gRPC address, `http_url` the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Seen] = []
        self._requests = 0
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4))
        add_TraceServiceServicer_to_server(_Servicer(self), self._grpc)  # type: ignore[no-untyped-call]
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{port}"
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http_url = f"http://127.0.0.1:{self._http.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._grpc.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._grpc.stop(0).wait()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep what was sent."""
        with self._lock:
            self._requests += 1
            self._spans += _read(request)

    @property
    def spans(self) -> list[Seen]:
        """All spans so far, each once, in the order of their starts."""
        with self._lock:
            unique = {(span.trace, span.id): span for span in self._spans}
        # Those of two processes may begin at one time by their clocks.
        return sorted(unique.values(), key=lambda s: (s.start, s.kind != "SERVER", -s.end))

    @property
    def received(self) -> list[Seen]:
        """All spans as often as they came."""
        with self._lock:
            return list(self._spans)

    def trace(self, trace_id: str) -> list[Seen]:
        """Give the spans of one trace."""
        return [span for span in self.spans if span.trace == trace_id]

    def of(self, request_id: str) -> list[list[Seen]]:
        """Give the traces of a request, a list of spans each, in their order."""
        key = "sluice.request.id"
        mine = [span.trace for span in self.spans if span.attributes.get(key) == request_id]
        return [self.trace(trace_id) for trace_id in dict.fromkeys(mine)]

    def until(self, request_id: str, *names: str, timeout_s: float = 20.0) -> list[list[Seen]]:
        """Wait until a request's traces have spans of all these names."""

        def complete() -> list[list[Seen]]:
            traces = self.of(request_id)
            told = [span.name for spans in traces for span in spans]
            return traces if _holds(told, names) else []

        return eventually(complete, timeout_s, f"spans {names} of {request_id}")


def _holds(told: list[str], names: Iterable[str]) -> bool:
    left = list(told)
    for name in names:
        if name not in left:
            return False
        left.remove(name)
    return True


class _Servicer(TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(  # noqa: N802 - gRPC's name
        self, request: ExportTraceServiceRequest, context: object
    ) -> ExportTraceServiceResponse:
        self._collector.take(request)
        return ExportTraceServiceResponse()


def _handler(collector: Collector) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            ok = self.path == "/v1/traces"
            if ok:
                collector.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200 if ok else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    return Handler


def _read(request: ExportTraceServiceRequest) -> Iterable[Seen]:
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _seen(span, resource)


def _seen(span: Span, resource: dict[str, object]) -> Seen:
    failed = span.status.code == Status.STATUS_CODE_ERROR
    return Seen(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        kind=_KINDS[span.kind],
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        state=span.trace_state,
        attributes=_attributes(span.attributes),
        error=span.status.message or "error" if failed else "",
        moments=tuple(event.name for event in span.events),
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        part=str(resource.get("sluice.part")),
        resource=resource,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    told: dict[str, object] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, str(kind))
        is_list = kind == "array_value"
        told[pair.key] = [item.string_value for item in value.values] if is_list else value
    return told
