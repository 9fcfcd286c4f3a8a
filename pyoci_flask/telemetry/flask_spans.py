"""OpenTelemetry's instrumentation of Flask, extended by redaction and by spans for transfers.

The instrumentation's span begins with the request and ends before the first byte of the body. A
body that is generated while it is sent gets a child span for its transfer.
"""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import flask
from opentelemetry.context import attach
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import INVALID_SPAN, Span, Tracer, TracerProvider, set_span_in_context

from pyoci_flask.telemetry.exports import POSTPONED, USER_NAME
from pyoci_flask.telemetry.labels import known_method
from pyoci_flask.telemetry.spans import EXCHANGE, Exchange, span_name
from pyoci_flask.web.access_log import ENVIRON_REQUEST_ID
from pyoci_flask.web.api.change_log import CHANGE, Change
from pyoci_flask.web.gate import NoPlaceError
from pyoci_flask.web.incoming import safe_host, safe_path, safe_user_agent
from pyoci_flask.web.routes import OPERATION, name_operation

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_MOST_FILES = 100
"""The number of files that an attribute lists. The log lists all."""
_PORT = re.compile(r":([0-9]{1,5})\Z")


class _Request(flask.Request):
    """A request whose URL can be read even if its Host is invalid, for the instrumentation."""

    @property
    def url(self) -> str:
        try:
            return super().url
        except ValueError:  # such as `Host: xn--a`, which is not a valid name
            return ""


def instrument(
    app: flask.Flask, tracers: TracerProvider, meters: MeterProvider, tracer: Tracer
) -> None:
    """Record spans and `http.server.request.duration` of the requests of `app`.

    Call this before blueprints are registered, so that the span includes their `before_request`.
    """
    app.request_class = _Request
    app.before_request(name_operation)
    # The instrumentation reads this once. Without it, the conventions of 2023 are used.
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
    FlaskInstrumentor.instrument_app(  # type: ignore[no-untyped-call] # it has no annotations
        app,
        request_hook=_begin,
        tracer_provider=tracers,
        meter_provider=meters,
        enable_commenter=False,
    )
    app.before_request(_describe)
    app.after_request(_describe_answer)
    app.teardown_request(_describe_failure)
    app.wsgi_app = _Transfers(app.wsgi_app, tracer)  # type: ignore[method-assign] # as Flask documents it


def _begin(span: Span, environ: "WSGIEnvironment") -> None:
    exchange: Exchange | None = environ.get(EXCHANGE)
    if exchange is not None:
        exchange.span = span
    if flask.request.url_rule is None:
        # The instrumentation uses the path as the name, but there are too many different paths.
        span.update_name(span_name(known_method(flask.request.method)))


def _describe() -> None:
    """Replace the attributes that the instrumentation has just copied from the request."""
    environ = flask.request.environ
    host = safe_host(environ)
    port = _PORT.search(host)
    operation = environ.get(OPERATION)
    attributes = {
        "url.path": safe_path(environ),
        "server.address": host[: port.start()] if port else host,
        "server.port": int(port[1]) if port else None,
        "user_agent.original": safe_user_agent(environ),
        "pyoci.request_id": environ.get(ENVIRON_REQUEST_ID, ""),
        "http.request.body.size": flask.request.content_length,
        "pyoci.operation": operation.name if operation else None,
    }
    known = {name: value for name, value in attributes.items() if value is not None}
    _span(environ).set_attributes(known)


def _describe_answer(response: flask.Response) -> flask.Response:
    environ = flask.request.environ
    exchange: Exchange | None = environ.get(EXCHANGE)
    if exchange is None or flask.request.method == "HEAD":
        return response
    change: Change | None = environ.get(CHANGE)
    if change is not None:
        _describe_change(exchange.span, change)
    exchange.streams = response.is_streamed and response.status_code < 400
    if response.content_length is not None:
        exchange.span.set_attribute("http.response.body.size", response.content_length)
    return response


def _describe_change(span: Span, change: Change) -> None:
    attributes = {
        "pyoci.change": change.action,
        "pyoci.project": change.project,
        "pyoci.version": change.version,
        "pyoci.files": [name for name, _ in change.files[:_MOST_FILES]],
        "pyoci.digests": [str(digest or "-") for _, digest in change.files[:_MOST_FILES]],
        USER_NAME: change.user,
        "client.address": change.client,
    }
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def _describe_failure(error: BaseException | None) -> None:
    if isinstance(error, NoPlaceError):
        _span(flask.request.environ).set_attribute(POSTPONED, True)
    elif error is not None:
        _span(flask.request.environ).set_attribute("error.type", type(error).__qualname__)


def _span(environ: "WSGIEnvironment") -> Span:
    exchange: Exchange | None = environ.get(EXCHANGE)
    return INVALID_SPAN if exchange is None else exchange.span


class _Transfers:
    """WSGI middleware around the instrumented application that makes the span of the transfer."""

    def __init__(self, app: "WSGIApplication", tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        exchange: Exchange | None = environ.get(EXCHANGE)
        if exchange is None:
            return self._app(environ, start_response)
        exchange.in_flask = True
        exchange.span = INVALID_SPAN
        attach(exchange.outside)
        port = str(environ.get("SERVER_PORT", ""))
        # If gunicorn listens on a Unix socket, it takes the port from the Host header.
        if not (port.isascii() and port.isdecimal() and len(port) <= 5):
            environ["SERVER_PORT"] = ""
        try:
            return self._app(environ, start_response)
        finally:
            # This context is for the body and for records logged at the end of the request.
            current = set_span_in_context(exchange.span, exchange.outside)
            if exchange.streams and exchange.span is not INVALID_SPAN:
                exchange.transfer = self._tracer.start_span("send body", current)
                current = set_span_in_context(exchange.transfer, exchange.outside)
            attach(current)
