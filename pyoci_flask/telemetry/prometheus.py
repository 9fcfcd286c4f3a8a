"""Serves the metrics as text for Prometheus."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from pyoci_flask.telemetry.labels import (
    BOUNDARIES,
    Hosts,
    call_purpose,
    known_method,
    registry_operation,
    status_label,
)
from pyoci_flask.transport.observe import CallRecord, redacted
from pyoci_flask.web.access_log import RequestRecord
from pyoci_flask.web.routes import OPERATION, name_operation

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

STARTED = "PYOCI_FLASK_METRICS_STARTED"
"""The environment variable that contains the master's start time (monotonic clock)."""

_ROOM = 16 << 20
"""Bytes that must be free on the disk for a new series."""


class Series:
    """Decides whether a new series may begin.

    Series are stored in a file that is mapped into memory. If the disk is full, writing to a new
    part of the file kills the process, and clients can fill that disk with uploads. The known
    series are not in a `Memory`, because they last as long as the process; `labels` limits their
    number.
    """

    def __init__(self, folder: str | None, room: int = _ROOM) -> None:
        """Keep `room` bytes free on the disk of `folder`, or use memory if `folder` is None."""
        self._folder = folder
        self._room = room
        self._known: set[tuple[str, ...]] = set()

    def admits(self, *labels: str) -> bool:
        """Return whether a series with these labels exists or there is room for it."""
        if self._folder is None or labels in self._known:
            return True
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < self._room:
            return False
        self._known.add(labels)
        return True


class Prometheus:
    """Counts requests and calls, and serves `/metrics` for all workers of one gunicorn.

    The workers share the folder of `PROMETHEUS_MULTIPROC_DIR`. If it is not set, the metrics are
    those of this process.
    """

    def __init__(self, app: Flask) -> None:
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._own = CollectorRegistry()
        self._uptime = _Uptime(float(os.environ.get(STARTED) or time.monotonic()))
        self.request_observer = _Requests(self._own, Series(self._folder))
        self.call_observer = _Calls(self._own, Series(self._folder))
        app.before_request(name_operation)
        app.add_url_rule("/metrics", "metrics", self.answer)

    def answer(self) -> Response:
        """Return the metrics since the server started."""
        registry = self._own
        if self._folder is not None:
            registry = CollectorRegistry()
            registry.register(_AllWorkers(Path(self._folder)))
        text = generate_latest(registry) + generate_latest(self._uptime.registry)
        return Response(
            text, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"}
        )


class _AllWorkers(Collector):
    """Reads the metrics that all workers wrote to their files.

    The library's own collector fails on a file that a worker has opened but not yet written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        written = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
        yield from MultiProcessCollector.merge(written)  # type: ignore[no-untyped-call] # it has no annotations


class _Uptime(Collector):
    def __init__(self, started: float) -> None:
        self._started = started
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "pyoci_uptime_seconds", "Age of the server", value=time.monotonic() - self._started
        )


class _Requests:
    """A `RequestObserver`."""

    def __init__(self, registry: CollectorRegistry, series: Series) -> None:
        self._series = series
        labels = ("method", "status", "operation")
        self._count = Counter("pyoci_requests", "Requests handled", labels, registry=registry)
        self._duration = Histogram(
            "pyoci_request_duration_seconds",
            "Time from a request's head to the last byte of its response",
            labels,
            buckets=BOUNDARIES,
            registry=registry,
        )
        self._bytes = Counter(
            "pyoci_bytes",
            "Bytes of bodies from (up) and to (down) clients",
            ("direction",),
            registry=registry,
        )

    def request_started(self, environ: "WSGIEnvironment") -> Callable[[RequestRecord], None]:
        def end(record: RequestRecord) -> None:
            method = known_method(record.method)
            found = environ.get(OPERATION) or registry_operation(method, record.path)
            labels = (method, status_label(record.status), found.name if found else "")
            if not self._series.admits(*labels):
                return
            self._count.labels(*labels).inc()
            self._duration.labels(*labels).observe(record.duration)
            self._bytes.labels("up").inc(record.bytes_in)
            self._bytes.labels("down").inc(record.bytes_out)

        return end


class _Calls:
    """A `CallObserver`."""

    def __init__(self, registry: CollectorRegistry, series: Series) -> None:
        self._series = series
        self._hosts = Hosts()
        self._count = Counter(
            "pyoci_registry_calls",
            "HTTP exchanges with registries",
            ("host", "status"),
            registry=registry,
        )
        self._duration = Histogram(
            "http_client_request_duration_seconds",
            "Time from the start of a registry call to the end of its response",
            ("method", "host", "status", "operation"),
            buckets=BOUNDARIES,
            registry=registry,
        )

    def call_started(self, method: str, url: str) -> CallRecord:
        parts = urlsplit(redacted(url))
        method = known_method(method)
        purpose, _ = call_purpose(method, url)
        return _Call(self, method, parts.netloc, purpose, time.monotonic())

    def ended(self, call: "_Call", status: int | None, seconds: float) -> None:
        host = self._hosts.label(call.host, answered=status is not None)
        label = status_label(status)
        if not self._series.admits(call.method, host, label, call.operation):
            return
        self._count.labels(host, label).inc()
        self._duration.labels(call.method, host, label, call.operation).observe(seconds)


@dataclass(frozen=True, slots=True)
class _Call:
    calls: _Calls
    method: str
    host: str
    operation: str
    started: float

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        del error, sent, received
        self.calls.ended(self, status, time.monotonic() - self.started)
