"""The client's side of each registry call: a span and metrics."""

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from pyoci_flask.telemetry.instruments import Instruments, known_method
from pyoci_flask.transport.observe import CallRecord, redacted

_PORTS = {"http": 80, "https": 443}


class ClientSpans:
    """A `CallObserver` that makes a CLIENT span of each call and counts it.

    The span is a child of the one that is current where the call is made. It is not made current
    itself: the answer's body may be read to its end by another thread.
    """

    def __init__(self, tracer: Tracer, instruments: Instruments) -> None:
        self._tracer = tracer
        self._instruments = instruments

    def call_started(self, method: str, url: str) -> CallRecord:
        """Start the span of one call."""
        method = known_method(method)
        safe = redacted(url)
        parts = urlsplit(safe)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": parts.hostname or "",
            "url.full": safe,
        }
        port = parts.port or _PORTS.get(parts.scheme)
        if port is not None:
            attributes["server.port"] = port
        span = self._tracer.start_span(
            "HTTP" if method == "_OTHER" else method, kind=SpanKind.CLIENT, attributes=attributes
        )
        return _Call(span, parts.netloc, self._instruments, time.monotonic())


@dataclass(frozen=True, slots=True)
class _Call:
    span: Span
    host: str
    instruments: Instruments
    started: float

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        self.instruments.call(
            host=self.host, status=status, seconds=time.monotonic() - self.started
        )
        self.span.set_attribute("http.request.body.size", sent)
        self.span.set_attribute("http.response.body.size", received)
        if status is not None:
            self.span.set_attribute("http.response.status_code", status)
        # The semantic conventions count every 4xx as an error of the client.
        if error is not None or (status is not None and status >= 400):
            kind = str(status) if error is None else type(error).__qualname__
            self.span.set_attribute("error.type", kind)
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()
