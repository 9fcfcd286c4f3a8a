"""The server's side of each request: its spans and our own metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from pyoci_flask.telemetry.labels import known_method
from pyoci_flask.telemetry.registry_calls import registry_operation
from pyoci_flask.web.access import RequestRecord
from pyoci_flask.web.routes import OPERATION

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

EXCHANGE = "pyoci.exchange"
"""Key of the WSGI environ: the request's `Exchange`."""


@dataclass(slots=True)
class Exchange:
    """The spans of one request."""

    outside: Context
    """The context of the request before any span of its own."""
    span: Span
    in_flask: bool = False
    """Whether Flask got the request: the instrumentation then makes and ends `span`."""
    streams: bool = False
    """Whether Flask's answer has a body that is made while it is sent."""
    transfer: Span | None = None


class ServerSpans:
    """A `RequestObserver` that makes the SERVER span of each request that Flask does not get.

    Those are the requests of the embedded registry, and what is refused before Flask. Of the
    others, it ends the span of the body's transfer. The access log knows when a body ends, however
    it ends, and runs the request in a context of its own: a span made current here stays so until
    the last byte, in pool threads that run in a copy of the context, too, and needs no detaching.
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
        self._instruments.outside_of_flask(record.duration, attributes)
        span.set_attributes(attributes)
        span.set_attribute("url.path", record.path)
        span.set_attribute("user_agent.original", record.user_agent)
        span.set_attribute("http.request.body.size", record.bytes_in)
        span.set_attribute("http.response.body.size", record.bytes_out)
        span.set_attribute("pyoci.request_id", record.request_id)
        _end(span, failure)


def _failure(record: RequestRecord) -> str | None:
    """Give `error.type` of the semantic conventions for HTTP server spans."""
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
        # Not the exception's text, which may quote anything; it is in the log, redacted.
        span.set_attribute("error.type", failure)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def span_name(method: str) -> str:
    """Return how the name of an HTTP span begins."""
    return "HTTP" if method == "_OTHER" else method


def _parent(environ: "WSGIEnvironment") -> Context:
    if get_current_span().get_span_context().is_valid:
        # Called in-process, inside of another request.
        return get_current()
    return extract(environ, Context(), wsgi_getter)
