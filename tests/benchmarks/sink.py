"""`python -m tests.benchmarks.sink PORT`: takes traces over gRPC and reads nothing of them.

A collector that reads would cost CPU on the cores that are measured.
"""

import sys
from concurrent import futures

import grpc

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def _take(_request: bytes, _context: object) -> bytes:
    return b""


class _Everything(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(_take) if call.method == _EXPORT else None


def main(port: int) -> None:
    """Serve until killed."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((_Everything(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("sink listens", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]))
