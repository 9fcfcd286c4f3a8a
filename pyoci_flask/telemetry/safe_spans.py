"""The last look at each span before it leaves the process."""

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, Status, TraceState
from opentelemetry.util.types import AttributeValue

from pyoci_flask.common.redaction import REDACTED, redact, redacted_traceback

POSTPONED = "pyoci.postponed"
"""Attribute of the span of a request that the server serves again later."""

_HEADER = "http.request.header."
_ANSWER_HEADER = "http.response.header."
_SECRET_HEADERS = ("authorization", "cookie", "token", "key", "secret", "password", "auth")
_LEFT_OUT = frozenset({"url.query"})


class SafeSpans(SpanExporter):
    """Hands spans on to another exporter, with the same redaction as the logs.

    What instrumentations record is taken from requests and exceptions as they came.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export what is left of `spans`."""
        kept = [_safe(span) for span in spans if POSTPONED not in (span.attributes or {})]
        return self._exporter.export(kept) if kept else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Shut the other exporter down."""
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
    """Redact the `tracestate` of the client."""
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
    if name.startswith((_HEADER, _ANSWER_HEADER)) and any(one in name for one in _SECRET_HEADERS):
        return REDACTED
    if name == "exception.stacktrace":
        return redacted_traceback(str(value))
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Sequence):
        return [redact(one) for one in value if isinstance(one, str)] or value
    return value
