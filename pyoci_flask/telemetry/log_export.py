"""Log records to the collector, with the ids of the trace and of the request."""

import logging
import traceback

from opentelemetry._logs import LoggerProvider, SeverityNumber
from opentelemetry.context import get_current

from pyoci_flask.common.redaction import redact, redacted_traceback
from pyoci_flask.logs import request_id
from pyoci_flask.telemetry.collector import exporting
from pyoci_flask.telemetry.collector import logger as own_logger

# Data model of logs, section "Mapping of SeverityNumber".
_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
    (logging.ERROR, SeverityNumber.ERROR, "ERROR"),
    (logging.WARNING, SeverityNumber.WARN, "WARN"),
    (logging.INFO, SeverityNumber.INFO, "INFO"),
    (logging.DEBUG, SeverityNumber.DEBUG, "DEBUG"),
)


class LogExport(logging.Handler):
    """Hands records to OpenTelemetry, redacted as on stderr.

    The SDK's own handler is deprecated, and knows neither redaction nor the request's id. Left
    out is whatever is logged because of an export, which would cause the next one.
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
            # The handler on stderr tells of it.
            return
        number, text = _severity(record.levelno)
        self._provider.get_logger(record.name).emit(
            timestamp=int(record.created * 1e9),
            observed_timestamp=int(record.created * 1e9),
            context=get_current(),
            severity_number=number,
            severity_text=text,
            body=redact(body),
            attributes=_attributes(record),
        )


def _severity(level: int) -> tuple[SeverityNumber, str]:
    for threshold, number, text in _SEVERITIES:
        if level >= threshold:
            return number, text
    return SeverityNumber.TRACE, "TRACE"


def _attributes(record: logging.LogRecord) -> dict[str, str]:
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
