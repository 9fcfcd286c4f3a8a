"""The providers of the three signals, which are created at startup and flushed at the end."""

import atexit
import logging
import os
import threading
import uuid
from collections.abc import Mapping
from typing import TypeVar

import flask
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.version import __version__ as sdk_version

from pyoci_flask import __version__
from pyoci_flask.settings import Settings
from pyoci_flask.telemetry.collector import Exporters, SDKLog
from pyoci_flask.telemetry.exports import LogExport, SafeSpans
from pyoci_flask.telemetry.flask_spans import instrument
from pyoci_flask.telemetry.instruments import Instruments
from pyoci_flask.telemetry.spans import ClientSpans, ServerSpans
from pyoci_flask.transport.network import Network

_INTERVAL = 30_000
"""Milliseconds between exports."""
SHUTDOWN_TIMEOUT = 5.0
"""Seconds for which the exit of a worker may wait for a collector."""

_QUEUE = 4096

_T = TypeVar("_T")


class Telemetry:
    """The exports of one worker process, created by `pyoci_flask.telemetry.start`.

    `request_observer` is for the access log, `call_observer` for the transport. `shutdown` sends
    queued data and also runs when the process exits.
    """

    def __init__(self, settings: Settings, endpoints: Mapping[str, str], app: flask.Flask) -> None:
        resource = _resource(settings)
        self._exporters = Exporters(endpoints, Network.from_env(os.environ), settings.otlp_auth)
        self._meters = MeterProvider(
            metric_readers=[
                PeriodicExportingMetricReader(
                    self._exporters.metrics,
                    export_interval_millis=_unless_set("OTEL_METRIC_EXPORT_INTERVAL", _INTERVAL),
                )
            ]
            if self._exporters.metrics
            else [],
            resource=resource,
            exemplar_filter=_unless_set("OTEL_METRICS_EXEMPLAR_FILTER", AlwaysOffExemplarFilter()),
            shutdown_on_exit=False,
        )
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        if self._exporters.spans:
            self._tracers.add_span_processor(
                BatchSpanProcessor(
                    SafeSpans(self._exporters.spans),
                    max_queue_size=_unless_set("OTEL_BSP_MAX_QUEUE_SIZE", _QUEUE),
                    schedule_delay_millis=_unless_set("OTEL_BSP_SCHEDULE_DELAY", _INTERVAL),
                )
            )
        self._loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        if self._exporters.logs:
            self._loggers.add_log_record_processor(
                BatchLogRecordProcessor(
                    self._exporters.logs,
                    max_queue_size=_unless_set("OTEL_BLRP_MAX_QUEUE_SIZE", _QUEUE),
                    schedule_delay_millis=_unless_set("OTEL_BLRP_SCHEDULE_DELAY", _INTERVAL),
                )
            )
        instruments = Instruments(self._meters.get_meter("pyoci", __version__))
        tracer = self._tracers.get_tracer("pyoci", __version__)
        self.request_observer = ServerSpans(tracer, instruments)
        self.call_observer = ClientSpans(tracer, instruments)
        instrument(app, self._tracers, self._meters, tracer)
        self._sdk_log = SDKLog()
        self._sdk_log.install()
        self._log_export = LogExport(self._loggers)
        logging.getLogger().addHandler(self._log_export)
        self._shutdown_lock = threading.Lock()
        self._ending = threading.Event()
        # Started now, because an exiting interpreter can no longer start threads.
        self._closer = threading.Thread(
            target=self._close_at_shutdown, name="pyoci-telemetry", daemon=True
        )
        self._closer.start()
        atexit.register(self.shutdown)

    def shutdown(self) -> None:
        """Send queued data and stop, within `SHUTDOWN_TIMEOUT`. A second call does nothing."""
        with self._shutdown_lock:
            if self._ending.is_set():
                return
            atexit.unregister(self.shutdown)
            logging.getLogger().removeHandler(self._log_export)
            self._exporters.hurry(SHUTDOWN_TIMEOUT)
            self._ending.set()
        # The SDK's own time-outs do not limit the time for connecting.
        self._closer.join(SHUTDOWN_TIMEOUT)
        self._sdk_log.uninstall()

    def _close_at_shutdown(self) -> None:
        self._ending.wait()
        self._tracers.shutdown()
        self._meters.shutdown()
        self._loggers.shutdown()


def _unless_set(variable: str, value: _T) -> _T | None:
    """Return `value`, or None if the variable is set, so that the SDK reads it."""
    return None if os.environ.get(variable) else value


def _resource(settings: Settings) -> Resource:
    own = {
        # Each process has its own id. Otherwise they would overwrite each other's metrics.
        "service.instance.id": str(uuid.uuid4()),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk_version,
        "deployment.environment": settings.deployment_environment,
        "deployment.environment.name": settings.deployment_environment,
        "k8s.container.name": settings.container_app_name,
        "k8s.pod.name": settings.container_app_revision,
        "k8s.replicaset.name": settings.container_app_replica_name,
    }
    return (
        Resource({"service.name": "pyoci", "service.version": __version__})
        .merge(OTELResourceDetector().detect())
        .merge(Resource({name: value for name, value in own.items() if value is not None}))
    )
