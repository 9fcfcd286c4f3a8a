"""The connection to the collector: OTLP over http/protobuf, even while it does not respond."""

import logging
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from pyoci_flask.common.memory import Memory
from pyoci_flask.common.overrides import overrides
from pyoci_flask.settings.otlp import LOGS, METRICS, TRACES
from pyoci_flask.transport.network import Network

logger = logging.getLogger("pyoci.telemetry")
_SDK_LOGGER = logging.getLogger("opentelemetry")

exporting: ContextVar[bool] = ContextVar("pyoci_exporting", default=False)
"""Whether this thread is sending telemetry. Records that it logs meanwhile must not be exported."""

WARNING_INTERVAL = 300.0
"""Seconds between two warnings from the same logger of the SDK."""


class CollectorClosedError(RuntimeError):
    """The worker is about to exit, and the collector does not respond."""


@overrides("send")
class CollectorSession(requests.Session):
    """Sends the exports of one signal to its collector.

    It uses the same proxies and CA certificates as calls to registries, unless `OTEL_*` variables
    specify a certificate. It does not read a `.netrc`. The configured Authorization header is added
    last, so that exporters never see it.
    """

    def __init__(self, network: Network, authorization: str | None) -> None:
        super().__init__()
        self.trust_env = False
        self._network = network
        self._authorization = authorization
        self._deadline: float | None = None

    def hurry(self, seconds: float) -> None:
        """Limit the total time of all further exports, and do not retry them."""
        self._deadline = time.monotonic() + seconds

    def send(
        self,
        request: requests.PreparedRequest,
        **options: Any,  # noqa: ANN401 - as in the overridden method
    ) -> requests.Response:
        """Send one export."""
        if self._authorization is not None:
            request.headers["Authorization"] = self._authorization
        options["proxies"] = self._network.proxies_for(request.url or "")
        if options.get("verify") is True:
            options["verify"] = self._network.ca_bundle or True
        options["timeout"] = self._time_left(options["timeout"])
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

    def _time_left(self, usual: float) -> float:
        if self._deadline is None:
            return usual
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CollectorClosedError("there is no time left for exports")
        return min(left, usual)


class Exporters:
    """The exporters for the signals that have an endpoint, each with its own session.

    They read all other settings from the `OTEL_EXPORTER_OTLP_*` variables.
    """

    def __init__(
        self, endpoints: Mapping[str, str], network: Network, authorization: str | None
    ) -> None:
        self._sessions: list[CollectorSession] = []

        def options(signal: str) -> Mapping[str, Any]:
            session = CollectorSession(network, authorization)
            self._sessions.append(session)
            names = ("OTEL_EXPORTER_OTLP_COMPRESSION", f"OTEL_EXPORTER_OTLP_{signal}_COMPRESSION")
            return {
                "endpoint": endpoints[signal],
                "session": session,
                "compression": None if any(map(os.environ.get, names)) else Compression.Gzip,
            }

        self.spans = OTLPSpanExporter(**options(TRACES)) if TRACES in endpoints else None
        self.logs = OTLPLogExporter(**options(LOGS)) if LOGS in endpoints else None
        self.metrics = OTLPMetricExporter(**options(METRICS)) if METRICS in endpoints else None

    def hurry(self, seconds: float) -> None:
        """Limit the total time of all further exports, and do not retry them."""
        for session in self._sessions:
            session.hurry(seconds)


class SDKLog(logging.Handler):
    """Receives the SDK's own log records and passes on one per logger in `WARNING_INTERVAL`.

    While a collector is down, every exporter logs several records per interval.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed_on: Memory[str, bool] = Memory(
            entries=100, max_bytes=64 * 1024, ttl=WARNING_INTERVAL
        )

    def install(self) -> None:
        """Put this handler between the SDK's loggers and all other handlers."""
        _SDK_LOGGER.addHandler(self)
        _SDK_LOGGER.propagate = False

    def uninstall(self) -> None:
        """Undo `install`."""
        _SDK_LOGGER.removeHandler(self)
        _SDK_LOGGER.propagate = not any(isinstance(one, SDKLog) for one in _SDK_LOGGER.handlers)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on to `pyoci.telemetry`, unless its logger passed one on recently."""
        if record.name in self._passed_on:
            return
        self._passed_on.put(record.name, True)
        logger.log(
            record.levelno,
            "%s (further messages of this kind are not shown for %d s)",
            record.getMessage(),
            WARNING_INTERVAL,
            exc_info=record.exc_info,
        )
