"""The metrics, and what keeps the number of their series small."""

import threading
import time
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from pyoci_flask.web.access import RequestRecord

Attributes = dict[str, str | int]

KNOWN_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"}
)
HOSTS_LIMIT = 100
"""Distinct registry hosts in the metrics of one worker."""
UNANSWERED_HOSTS_LIMIT = 10
"""How many of them may be hosts that had never answered when they were first called."""
OTHER_HOST = "_other"

# Seconds. Downloads of large files end in the last ones.
BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Instruments:
    """The instruments of one worker process, beside those of the instrumentation of Flask."""

    def __init__(self, meter: Meter) -> None:
        self._started = time.monotonic()
        self._hosts = _Hosts()
        # Kind and unit of these two are those that the original gives them.
        meter.create_observable_counter(
            "pyoci_uptime", [self._uptime], unit="seconds", description="Age of the worker process"
        )
        self._requests = meter.create_counter(
            "pyoci_requests", unit="requests", description="Requests answered"
        )
        self._request_duration = meter.create_histogram(
            "pyoci_request_duration",
            unit="s",
            description="From a request's head to its answer's last byte",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        self._bytes = meter.create_counter(
            "pyoci_bytes", unit="By", description="Bytes of bodies from (up) and to (down) clients"
        )
        self._calls = meter.create_counter(
            "pyoci_registry_calls", unit="{call}", description="HTTP exchanges with registries"
        )
        self._server_duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        self._client_duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )

    def request(self, record: RequestRecord, operation: str | None) -> None:
        """Count one request of a client."""
        attributes = {"method": known_method(record.method), "status": _status(record.status)}
        if operation is not None:
            attributes["operation"] = operation
        self._requests.add(1, attributes)
        self._request_duration.record(record.duration, attributes)
        self._bytes.add(record.bytes_in, {"direction": "up"})
        self._bytes.add(record.bytes_out, {"direction": "down"})

    def outside_of_flask(self, seconds: float, attributes: Attributes) -> None:
        """Note the duration of a request of which the instrumentation of Flask was not told."""
        self._server_duration.record(seconds, attributes)

    def call(
        self, *, host: str, status: int | None, seconds: float, attributes: Attributes
    ) -> None:
        """Count one exchange with a registry; `host` is with the port."""
        label = self._hosts.label(host, answered=status is not None)
        self._calls.add(1, {"host": label, "status": _status(status)})
        if label == OTHER_HOST:
            attributes = {**attributes, "server.address": OTHER_HOST}
            attributes.pop("server.port", None)
        self._client_duration.record(seconds, attributes)

    def _uptime(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(time.monotonic() - self._started)


def known_method(method: str) -> str:
    """Give a method of RFC 9110 or 5789 back and `_OTHER` for any other text."""
    return method if method in KNOWN_METHODS else "_OTHER"


def _status(status: int | None) -> str:
    return "error" if status is None else str(status)


class _Hosts:
    """Admits hosts as metric attributes, first come, first served.

    On a server without an allow-list of registries anybody can make it call any name. Names
    behind which nobody answers are cheap to make up, so they get a small share of the places.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._unanswered = 0

    def label(self, host: str, *, answered: bool) -> str:
        with self._lock:
            if host in self._known:
                return host
            if len(self._known) >= HOSTS_LIMIT:
                return OTHER_HOST
            if not answered:
                if self._unanswered >= UNANSWERED_HOSTS_LIMIT:
                    return OTHER_HOST
                self._unanswered += 1
            self._known.add(host)
            return host
