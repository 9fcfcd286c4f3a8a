"""The spans of requests and registry calls, and the metrics that are recorded with them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.context import Context, attach, get_current
from opentelemetry.instrumentation.wsgi import wsgi_getter
from opentelemetry.propagate import extract
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from pyoci_flask.telemetry.instruments import Attributes, Instruments
from pyoci_flask.telemetry.labels import (
    call_purpose,
    known_method,
    registry_operation,
    status_label,
)
from pyoci_flask.transport.observe import CallRecord, redacted
from pyoci_flask.transport.request import origin_of
from pyoci_flask.web.access_log import RequestRecord
from pyoci_flask.web.routes import OPERATION

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

EXCHANGE = "pyoci.exchange"
"""The key of the request's `Exchange` in the WSGI environ."""


@dataclass(slots=True)
class Exchange:
    """The spans of one request."""

    outside: Context
    """The context of the request before its first span."""
    span: Span
    in_flask: bool = False
    """Whether Flask handles the request. If so, the instrumentation makes and ends `span`."""
    streams: bool = False
    """Whether the body of Flask's response is generated while it is sent."""
    transfer: Span | None = None


class ServerSpans:
    """A `RequestObserver` that makes the SERVER spans of requests that do not reach Flask.

    These are requests to the embedded registry and requests that are refused before Flask. For
    other requests it ends the span of the body's transfer, because the access log knows when a body
    ends. The access log also runs each request in its own context. Therefore a span that is made
    current here remains current until the last byte, even in pool threads that run in a copy of the
    context, and need not be detached.
    """

    def __init__(self, tracer: Tracer, instruments: Instruments) -> None:
        self._tracer = tracer
        self._instruments = instruments

    def request_started(self, environ: "WSGIEnvironment") -> Callable[[RequestRecord], None]:
        """Start the span, as a child of the caller's if it sent a `traceparent`."""
        method = known_method(str(environ.get("REQUEST_METHOD", "")))
        outside = get_current()
        scheme = str(environ.get("wsgi.url_scheme", "http"))
        span = self._tracer.start_span(
            span_name(method), context=_parent(environ), kind=SpanKind.SERVER
        )
        exchange = environ[EXCHANGE] = Exchange(outside, span)
        attach(set_span_in_context(span))

        def end(record: RequestRecord) -> None:
            operation = environ.get(OPERATION) or registry_operation(method, record.path)
            self._instruments.request(record, operation.name if operation else None)
            if not exchange.in_flask:
                self._end(span, record, scheme)
            elif exchange.transfer is not None:
                exchange.transfer.set_attribute("http.response.body.size", record.bytes_out)
                _end(exchange.transfer, _broken(record))

        return end

    def _end(self, span: Span, record: RequestRecord, scheme: str) -> None:
        method = known_method(record.method)
        attributes: Attributes = {"http.request.method": method, "url.scheme": scheme}
        if record.status is not None:
            attributes["http.response.status_code"] = record.status
        failure = _failure(record)
        if failure is not None:
            attributes["error.type"] = failure
        operation = registry_operation(method, record.path)
        if operation is not None:
            attributes["http.route"] = operation.template
            span.update_name(f"{span_name(method)} {operation.template}")
            span.set_attribute("pyoci.operation", operation.name)
        self._instruments.server_duration.record(record.duration, attributes)
        span.set_attributes(
            {
                **attributes,
                "url.path": record.path,
                "user_agent.original": record.user_agent,
                "http.request.body.size": record.bytes_in,
                "http.response.body.size": record.bytes_out,
                "pyoci.request_id": record.request_id,
            }
        )
        _end(span, failure)


def _failure(record: RequestRecord) -> str | None:
    """Return `error.type` of the semantic conventions for HTTP server spans."""
    broken = _broken(record)
    if broken is None and record.status is not None and record.status >= 500:
        return str(record.status)
    return broken


def _broken(record: RequestRecord) -> str | None:
    if record.error is not None:
        return type(record.error).__qualname__
    return "client_disconnected" if record.aborted else None


def _end(span: Span, failure: str | None) -> None:
    if failure is not None:
        # The exception's text is omitted, as it may quote anything. The log has it, redacted.
        span.set_attribute("error.type", failure)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def span_name(method: str) -> str:
    """Return the first word of the name of an HTTP span."""
    return "HTTP" if method == "_OTHER" else method


def _parent(environ: "WSGIEnvironment") -> Context:
    if get_current_span().get_span_context().is_valid:
        # This is an in-process call within another request.
        return get_current()
    return extract(environ, Context(), wsgi_getter)


class ClientSpans:
    """A `CallObserver` that makes a CLIENT span for each call and counts the call.

    The parent is the span that is current when the call is made. The new span is not made current,
    because another thread may read the body of the response.
    """

    def __init__(self, tracer: Tracer, instruments: Instruments) -> None:
        self._tracer = tracer
        self._instruments = instruments

    def call_started(self, method: str, url: str) -> CallRecord:
        """Start the span of one call."""
        method = known_method(method)
        safe = redacted(url)
        _, host, port = origin_of(safe)
        attributes: Attributes = {"http.request.method": method, "server.address": host}
        if port is not None:
            attributes["server.port"] = port
        name = span_name(method)
        attributes["pyoci.registry.operation"], template = call_purpose(method, url)
        if template is not None:
            name = f"{name} {template}"
            attributes["url.template"] = template
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes={**attributes, "url.full": safe}
        )
        return _Call(span, urlsplit(safe).netloc, attributes, self._instruments, time.monotonic())


@dataclass(frozen=True, slots=True)
class _Call:
    span: Span
    host: str
    attributes: Attributes
    """The attributes of the metric."""
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
        sizes = {"http.request.body.size": sent, "http.response.body.size": received}
        self.span.set_attributes({**found, **sizes})
        self.span.end()
