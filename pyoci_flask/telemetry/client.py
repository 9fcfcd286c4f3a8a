"""The client's side of each registry call: a span and metrics."""

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from pyoci_flask.telemetry.instruments import Attributes, Instruments
from pyoci_flask.telemetry.labels import known_method, status_label
from pyoci_flask.telemetry.registry_calls import call_purpose
from pyoci_flask.telemetry.server import span_name
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
        attributes: Attributes = {
            "http.request.method": method,
            "server.address": parts.hostname or "",
        }
        port = parts.port or _PORTS.get(parts.scheme)
        if port is not None:
            attributes["server.port"] = port
        name = span_name(method)
        purpose, template = call_purpose(method, url)
        attributes["pyoci.registry.operation"] = purpose
        if template is not None:
            name = f"{name} {template}"
            attributes["url.template"] = template
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes={**attributes, "url.full": safe}
        )
        return _Call(span, parts.netloc, attributes, self._instruments, time.monotonic())


@dataclass(frozen=True, slots=True)
class _Call:
    span: Span
    host: str
    attributes: Attributes
    """Of the metric."""
    instruments: Instruments
    started: float

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        seconds = time.monotonic() - self.started
        found: Attributes = {}
        if status is not None:
            found["http.response.status_code"] = status
        # The semantic conventions count every 4xx as an error of the client.
        if error is not None or (status is not None and status >= 400):
            found["error.type"] = (
                status_label(status) if error is None else type(error).__qualname__
            )
            self.span.set_status(Status(StatusCode.ERROR))
        self.instruments.call(
            host=self.host, status=status, seconds=seconds, attributes=self.attributes | found
        )
        self.span.set_attributes(found)
        self.span.set_attribute("http.request.body.size", sent)
        self.span.set_attribute("http.response.body.size", received)
        self.span.end()
