"""The way to the collector: OTLP over http/protobuf, and what happens when nobody is there."""

import logging
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import Aggregation, ExplicitBucketHistogramAggregation

from pyoci_flask.overrides import overrides
from pyoci_flask.transport.network import Network

logger = logging.getLogger("pyoci.telemetry")

exporting: ContextVar[bool] = ContextVar("pyoci_exporting", default=False)
"""Whether this thread is sending telemetry: what is logged meanwhile must not be exported."""

EXPORT_TIMEOUT = 10.0
"""Seconds for one export, its retries included."""
WARNING_INTERVAL = 300.0
"""Seconds between two warnings from the same part of the SDK."""

_SENT_HEADERS = ("Content-Type", "Content-Encoding", "User-Agent", "Content-Length")
_TEMPORALITY: dict[type, AggregationTemporality] = dict.fromkeys(
    (
        Counter,
        Histogram,
        ObservableCounter,
        ObservableGauge,
        ObservableUpDownCounter,
        UpDownCounter,
    ),
    AggregationTemporality.CUMULATIVE,
)
_AGGREGATION: dict[type, Aggregation] = {Histogram: ExplicitBucketHistogramAggregation()}


class CollectorClosedError(RuntimeError):
    """The worker is about to exit and the collector does not answer."""


@overrides("send")
class CollectorSession(requests.Session):
    """Sends exports to one collector with one Authorization header.

    The exporters merge headers, certificates and proxies of the `OTEL_*` environment into their
    requests, and requests merges a `.netrc`. Here each request is made anew from what the
    settings say, and the Authorization is added last, so that no exporter ever holds it.
    """

    def __init__(self, network: Network, authorization: str | None) -> None:
        super().__init__()
        self.trust_env = False
        self._network = network
        self._authorization = authorization
        self._deadline: float | None = None

    def hurry(self, seconds: float) -> None:
        """Give all exports together so much time, and none a second try."""
        self._deadline = time.monotonic() + seconds

    def send(
        self,
        request: requests.PreparedRequest,
        **options: Any,  # noqa: ANN401 - what the overridden method takes
    ) -> requests.Response:
        """Send one export."""
        headers = {name: request.headers[name] for name in _SENT_HEADERS if name in request.headers}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        request.headers = requests.structures.CaseInsensitiveDict(headers)
        options["proxies"] = self._network.proxies_for(request.url or "")
        options["verify"] = self._network.ca_bundle or True
        options["cert"] = None
        options["timeout"] = self._time_left()
        token = exporting.set(True)
        try:
            return super().send(request, **options)
        except requests.RequestException as error:
            if self._deadline is None:
                raise
            self._deadline = 0.0
            raise CollectorClosedError(str(error)) from error
        finally:
            exporting.reset(token)

    def _time_left(self) -> float:
        if self._deadline is None:
            return EXPORT_TIMEOUT
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CollectorClosedError("no time left for exports")
        return min(left, EXPORT_TIMEOUT)


class Exporters:
    """One exporter a signal, all with the same session."""

    def __init__(self, endpoint: str, session: CollectorSession) -> None:
        # Every argument that has a counterpart in the environment is given.
        common: Mapping[str, Any] = {
            "session": session,
            "timeout": EXPORT_TIMEOUT,
            "compression": Compression.Gzip,
        }
        self.spans = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", **common)
        self.logs = OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", **common)
        self.metrics = OTLPMetricExporter(
            endpoint=f"{endpoint}/v1/metrics",
            preferred_temporality=_TEMPORALITY,
            preferred_aggregation=_AGGREGATION,
            **common,
        )


class SDKLog(logging.Handler):
    """Takes the SDK's own log records and passes on one per origin in `WARNING_INTERVAL`.

    A collector that is down makes every exporter complain several times in each period.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def install(self) -> None:
        """Stand between the SDK's loggers and everybody else's handlers."""
        source = logging.getLogger("opentelemetry")
        source.addHandler(self)
        source.propagate = False

    def uninstall(self) -> None:
        """Undo `install`."""
        source = logging.getLogger("opentelemetry")
        source.removeHandler(self)
        source.propagate = not any(isinstance(one, SDKLog) for one in source.handlers)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on to `pyoci.telemetry`, unless its origin has just spoken."""
        now = time.monotonic()
        last = self._last.get(record.name)
        if last is not None and now - last < WARNING_INTERVAL:
            return
        self._last[record.name] = now
        logger.log(
            record.levelno,
            "%s (more of this kind is not shown for %d s)",
            record.getMessage(),
            WARNING_INTERVAL,
            exc_info=record.exc_info,
        )
