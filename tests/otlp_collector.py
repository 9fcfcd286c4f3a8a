"""A collector double: accepts OTLP over http/protobuf, decodes it and records it."""

import gzip
import http.server
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_SIGNALS: dict[str, tuple[type[Message], type[Message]]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


@dataclass(frozen=True, slots=True)
class Export:
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    message: Any
    """The decoded request of the signal."""


def attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


class OTLPCollector:
    """Use it as a context manager; OTLP_ENDPOINT is set to `url`.

    `status` is the status that it answers with (it records nothing if that is not 200).
    """

    def __init__(self, status: int = 200) -> None:
        self.exports: list[Export] = []
        self.requests = 0
        self.status = status
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests += 1
                request_type, response_type = _SIGNALS[self.path]
                answer = b""
                if collector.status == 200:
                    if self.headers.get("Content-Encoding") == "gzip":
                        body = gzip.decompress(body)
                    elif self.headers.get("Content-Encoding") == "deflate":
                        body = zlib.decompress(body)
                    message = request_type()
                    message.ParseFromString(body)
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    collector.exports.append(Export(self.path, headers, message))
                    answer = response_type().SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for export in self._of("/v1/traces")
            for resource in export.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def only_span(self, kind: "Span.SpanKind.ValueType") -> Span:
        """Return the one span of that kind; raise an error if there are more or none."""
        (span,) = (span for span in self.spans if span.kind == kind)
        return span

    @property
    def log_records(self) -> list[LogRecord]:
        return [
            record
            for export in self._of("/v1/logs")
            for resource in export.message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Return each metric as it was last exported."""
        return {
            metric.name: metric
            for export in self._of("/v1/metrics")
            for resource in export.message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def sums(self, name: str) -> dict[frozenset[tuple[str, object]], int]:
        """Return the values of a counter by their attributes."""
        return {
            frozenset(attributes(point.attributes).items()): _number(point)
            for point in self.metrics[name].sum.data_points
        }

    @property
    def resources(self) -> list[dict[str, object]]:
        """Return the resource of each export, of all signals."""
        return [
            attributes(part.resource.attributes)
            for export in self.exports
            for kind in ("resource_spans", "resource_metrics", "resource_logs")
            for part in getattr(export.message, kind, ())
        ]

    def text(self) -> str:
        """Return everything that was received, to search it for secrets."""
        return "\n".join(f"{export.headers}\n{export.message}" for export in self.exports)

    def _of(self, path: str) -> list[Export]:
        return [export for export in self.exports if export.path == path]


def _number(point: NumberDataPoint) -> int:
    return int(getattr(point, point.WhichOneof("value") or "as_int"))
