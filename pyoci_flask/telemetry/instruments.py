"""The metrics for a collector."""

import time
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from pyoci_flask.telemetry.labels import (
    BOUNDARIES,
    OTHER_HOST,
    Hosts,
    is_known_status,
    known_method,
    status_label,
)
from pyoci_flask.web.access_log import RequestRecord

Attributes = dict[str, str | int]


class Instruments:
    """The instruments of a worker process, in addition to those of the Flask instrumentation."""

    def __init__(self, meter: Meter) -> None:
        self._started = time.monotonic()
        self._hosts = Hosts()
        # The next two instruments have the same kind and unit as in the original program.
        meter.create_observable_counter(
            "pyoci_uptime", [self._uptime], unit="seconds", description="Age of the worker process"
        )
        self._requests = meter.create_counter(
            "pyoci_requests", unit="requests", description="Requests handled"
        )
        self._request_duration = meter.create_histogram(
            "pyoci_request_duration",
            unit="s",
            description="Time from a request's head to the last byte of its response",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        self._bytes = meter.create_counter(
            "pyoci_bytes", unit="By", description="Bytes of bodies from (up) and to (down) clients"
        )
        self._calls = meter.create_counter(
            "pyoci_registry_calls", unit="{call}", description="HTTP exchanges with registries"
        )
        self.server_duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        """Only for requests that the Flask instrumentation does not see."""
        self._client_duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )

    def request(self, record: RequestRecord, operation: str | None) -> None:
        """Count one request of a client."""
        attributes = {"method": known_method(record.method), "status": status_label(record.status)}
        if operation is not None:
            attributes["operation"] = operation
        self._requests.add(1, attributes)
        self._request_duration.record(record.duration, attributes)
        self._bytes.add(record.bytes_in, {"direction": "up"})
        self._bytes.add(record.bytes_out, {"direction": "down"})

    def call(
        self, *, host: str, status: int | None, seconds: float, attributes: Attributes
    ) -> None:
        """Count one exchange with a registry; `host` includes the port."""
        label = self._hosts.label(host, answered=status is not None)
        self._calls.add(1, {"host": label, "status": status_label(status)})
        attributes = dict(attributes)
        if label == OTHER_HOST:
            attributes["server.address"] = OTHER_HOST
            attributes.pop("server.port", None)
        if status is not None and not is_known_status(status):
            attributes.pop("http.response.status_code", None)
        self._client_duration.record(seconds, attributes)

    def _uptime(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(time.monotonic() - self._started)
