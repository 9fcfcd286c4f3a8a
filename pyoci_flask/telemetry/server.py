"""The server's side of each request: a span that ends with the answer's body, and metrics."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import flask
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pyoci_flask.telemetry.instruments import Instruments, known_method
from pyoci_flask.web.access import RequestRecord

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PROPAGATOR = TraceContextTextMapPropagator()


class ServerSpans:
    """A `RequestObserver` that makes a SERVER span of each request and counts it.

    The access log knows when a body ends, however it ends, and runs the request in a context of
    its own: the span made current here stays so until the last byte, in the streaming of the body
    and in pool threads that run in a copy of the context, and needs no detaching.
    """

    def __init__(self, tracer: Tracer, instruments: Instruments) -> None:
        self._tracer = tracer
        self._instruments = instruments

    def request_started(self, environ: "WSGIEnvironment") -> Callable[[RequestRecord], None]:
        """Start the span, as a child of the caller's if it sent a `traceparent`."""
        method = known_method(str(environ.get("REQUEST_METHOD", "")))
        span = self._tracer.start_span(
            _name(method),
            context=_parent(environ),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.scheme": str(environ.get("wsgi.url_scheme", "http")),
            },
        )
        attach(set_span_in_context(span))

        def end(record: RequestRecord) -> None:
            self._instruments.request(
                method=record.method,
                status=record.status,
                seconds=record.duration,
                up=record.bytes_in,
                down=record.bytes_out,
            )
            _end(span, record)

        return end


def name_by_route(_: flask.Flask, **__: object) -> None:
    """Name the current span by the route: a receiver of the signal `flask.request_started`."""
    span = get_current_span()
    if span.is_recording() and flask.request.url_rule is not None:
        route = flask.request.url_rule.rule
        span.set_attribute("http.route", route)
        span.update_name(f"{_name(known_method(flask.request.method))} {route}")


def _name(method: str) -> str:
    return "HTTP" if method == "_OTHER" else method


def _parent(environ: "WSGIEnvironment") -> Context:
    if get_current_span().get_span_context().is_valid:
        # Called in-process, inside of another request.
        return get_current()
    carrier = {
        name: str(environ[key])
        for name, key in (("traceparent", "HTTP_TRACEPARENT"), ("tracestate", "HTTP_TRACESTATE"))
        if key in environ
    }
    return _PROPAGATOR.extract(carrier, Context())


def _end(span: Span, record: RequestRecord) -> None:
    span.set_attribute("url.path", record.path)
    span.set_attribute("user_agent.original", record.user_agent)
    span.set_attribute("http.request.body.size", record.bytes_in)
    span.set_attribute("http.response.body.size", record.bytes_out)
    span.set_attribute("pyoci.request_id", record.request_id)
    if record.status is not None:
        span.set_attribute("http.response.status_code", record.status)
    failure = _failure(record)
    if failure is not None:
        # Not the exception's text, which may quote anything; it is in the log, redacted.
        span.set_attribute("error.type", failure)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _failure(record: RequestRecord) -> str | None:
    """Give `error.type` of the semantic conventions for HTTP server spans."""
    if record.error is not None:
        return type(record.error).__qualname__
    if record.aborted:
        return "client_disconnected"
    if record.status is not None and record.status >= 500:
        return str(record.status)
    return None
