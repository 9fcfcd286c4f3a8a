"""Exports spans and log records, redacted in the same way as on stderr."""

import logging
import traceback
from collections.abc import Mapping, Sequence

from opentelemetry._logs import LoggerProvider, SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, Status, TraceState
from opentelemetry.util.types import AttributeValue

from pyoci_flask.common.redaction import REDACTED, redact, redacted_traceback
from pyoci_flask.logs import is_safe, request_id
from pyoci_flask.telemetry.collector import exporting
from pyoci_flask.telemetry.collector import logger as own_logger

POSTPONED = "pyoci.postponed"
"""The attribute that marks the span of a request that the server will serve again."""

USER_NAME = "user.name"
"""The attribute with the user name. It has been redacted before (see `user_name`)."""

_REQUEST_HEADER = "http.request.header."
_RESPONSE_HEADER = "http.response.header."
_SECRET_HEADERS = ("cookie", "token", "key", "secret", "password", "auth")
_LEFT_OUT = frozenset({"url.query"})

# Logs data model, section "Mapping of SeverityNumber".
_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
    (logging.ERROR, SeverityNumber.ERROR, "ERROR"),
    (logging.WARNING, SeverityNumber.WARN, "WARN"),
    (logging.INFO, SeverityNumber.INFO, "INFO"),
    (logging.DEBUG, SeverityNumber.DEBUG, "DEBUG"),
)


class SafeSpans(SpanExporter):
    """Passes spans on to another exporter, redacted in the same way as the logs.

    Instrumentations copy data of requests and exceptions into spans without redaction.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans of requests that were not postponed."""
        kept = [_safe(span) for span in spans if POSTPONED not in (span.attributes or {})]
        return self._exporter.export(kept) if kept else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Shut down the other exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the other exporter."""
        return self._exporter.force_flush(timeout_millis)


def _safe(span: ReadableSpan) -> ReadableSpan:
    status = span.status
    if status.description is not None:
        status = Status(status.status_code, redact(status.description))
    return ReadableSpan(
        name=redact(span.name),
        context=_context(span.get_span_context()),
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.attributes or {}),
        events=[
            Event(event.name, _attributes(event.attributes or {}), event.timestamp)
            for event in span.events
        ],
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _context(context: SpanContext | None) -> SpanContext | None:
    """Redact the client's `tracestate`."""
    if context is None or not context.trace_state:
        return context
    return SpanContext(
        context.trace_id,
        context.span_id,
        context.is_remote,
        context.trace_flags,
        TraceState([(key, redact(value)) for key, value in context.trace_state.items()]),
    )


def _attributes(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {
        name: _value(name, value) for name, value in attributes.items() if name not in _LEFT_OUT
    }


def _value(name: str, value: AttributeValue) -> AttributeValue:
    if name == USER_NAME:
        return value
    is_header = name.startswith((_REQUEST_HEADER, _RESPONSE_HEADER))
    if is_header and any(one in name for one in _SECRET_HEADERS):
        return REDACTED
    if name == "exception.stacktrace":
        return redacted_traceback(str(value))
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Sequence):
        return [redact(one) for one in value if isinstance(one, str)] or value
    return value


class LogExport(logging.Handler):
    """Passes log records on to OpenTelemetry, with the ids of the trace and the request.

    The SDK's own handler is deprecated, does not redact and does not add the request's id. Records
    that are logged because of an export are left out, because they would cause another export.
    """

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record."""
        if record.name == own_logger.name or exporting.get():
            return
        try:
            body = record.getMessage()
        except Exception:  # noqa: BLE001 - a bad log call must not fail the request
            # The handler on stderr reports the error.
            return
        number, text = _severity(record.levelno)
        self._provider.get_logger(record.name).emit(
            timestamp=int(record.created * 1e9),
            observed_timestamp=int(record.created * 1e9),
            context=get_current(),
            severity_number=number,
            severity_text=text,
            body=body if is_safe(record) else redact(body),
            attributes=_record_attributes(record),
        )


def _severity(level: int) -> tuple[SeverityNumber, str]:
    for threshold, number, text in _SEVERITIES:
        if level >= threshold:
            return number, text
    return SeverityNumber.TRACE, "TRACE"


def _record_attributes(record: logging.LogRecord) -> dict[str, str]:
    attributes: dict[str, str] = {}
    current = request_id.get()
    if current is not None:
        attributes["pyoci.request_id"] = current
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        attributes["exception.type"] = type(error).__qualname__
        attributes["exception.message"] = redact(str(error))
        attributes["exception.stacktrace"] = redacted_traceback(
            "".join(traceback.format_exception(error))
        )
    return attributes
