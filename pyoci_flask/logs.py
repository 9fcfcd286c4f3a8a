"""Logging: one line per record, as text or as JSON, with the request's id and without secrets."""

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import TextIO

from pyoci_flask.common.redaction import redact, redacted_traceback

request_id: ContextVar[str | None] = ContextVar("pyoci_request_id", default=None)
"""The id of the request being served; `web.access_log` sets it, and each log line contains it."""

LINE_LIMIT = 4096
"""Maximum size of a line in bytes, including its end."""
_MESSAGE_LIMIT = 3400
_MESSAGE_BEFORE_TRACEBACK_LIMIT = 1000
_SHORTEST = 100
"""Characters of a text that are left of it in a JSON line in any case."""

_levelled: frozenset[str] = frozenset()


def configure_logging(
    levels: Mapping[str, str], stream: TextIO | None = None, *, as_json: bool = False
) -> None:
    """Write every record to `stream`, or to stderr, one line each, at the given levels.

    `levels` maps a logger's name ("" = the root, INFO if absent) to the name of its level. With
    `as_json`, each line is a JSON object, and what Python itself would print (warnings, exceptions
    that end a thread or the process) is logged as well. A second call replaces the first; handlers
    that others have installed are kept.
    """
    global _levelled
    _handler.stream = stream
    _handler.setFormatter(JSONFormatter() if as_json else _LineFormatter())
    _log_what_python_prints(wanted=as_json)
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
    for name in _levelled - levels.keys():
        logging.getLogger(name).setLevel(logging.NOTSET)
    # At DEBUG urllib3 logs each URL with its query, which contains the signature of signed URLs.
    applied = {"": "INFO", "urllib3": "INFO", **levels}
    for name, level in applied.items():
        number = logging.getLevelNamesMapping()[level]
        if name == "urllib3" or name.startswith("urllib3."):
            number = max(number, logging.INFO)
        logging.getLogger(name).setLevel(number)
    _levelled = frozenset(applied)


def one_line(text: str) -> str:
    """Escape all unprintable characters, so that no text can forge or hide a line."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def quoted(text: str, limit: int = _MESSAGE_LIMIT) -> str:
    """Return `text` as one value in double quotes, escaped and cut to `limit` bytes."""
    escaped = text[:limit].replace("\\", "\\\\").replace('"', '\\"')
    line = one_line(escaped)
    if len(text) > limit or len(line.encode()) > limit:
        # Half an escape sequence must not escape the quote.
        line = _first_bytes(line, limit - 3).rstrip("\\") + "..."
    return f'"{line}"'


def _first_bytes(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")


def is_safe(record: logging.LogRecord) -> bool:
    """Return whether the writer of a record has redacted and shortened it (`extra={"safe": True}`).

    Redaction finds secrets in any text. It would also find one in an e-mail address.
    """
    return bool(getattr(record, "safe", False))


def _stamp(record: logging.LogRecord) -> str:
    """Return the time of a record in UTC (RFC 3339)."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03}Z"


class _LineFormatter(logging.Formatter):
    """`time=... level=... logger=... request_id=... ` and the message.

    The message of a record with `extra={"fields": True}` already consists of `key=value` pairs. Any
    other message, and a traceback, is written as one quoted value.
    """

    def format(self, record: logging.LogRecord) -> str:
        parts = [
            f"time={_stamp(record)}",
            f"level={record.levelname}",
            f"logger={record.name}",
            f"request_id={request_id.get() or '-'}",
        ]
        message = record.getMessage()
        trace = self.formatException(record.exc_info) if record.exc_info else record.stack_info
        if getattr(record, "fields", False):
            parts.append(one_line(message[:_MESSAGE_LIMIT]))
        else:
            limit = _MESSAGE_BEFORE_TRACEBACK_LIMIT if trace else _MESSAGE_LIMIT
            parts.append(f"message={quoted(redact(message), limit)}")
        if trace:
            name = "exception" if record.exc_info else "stack"
            parts.append(f"{name}={quoted(redacted_traceback(trace))}")
        line = " ".join(parts)
        if not is_safe(record):
            # Redact the whole line as well: a secret might extend from one part into the next.
            line = redact(line)
        cut = len(line.encode()) >= LINE_LIMIT
        return f'{_first_bytes(line, LINE_LIMIT - 5)}..."' if cut else line


class JSONFormatter(logging.Formatter):
    """One JSON object (RFC 8259) in ASCII: `time`, `level`, `logger`, `request_id`, `message`.

    The members of a record with `extra={"members": {...}}` are added, and a `message` among them
    replaces the text. A traceback is the member `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        trace = self.formatException(record.exc_info) if record.exc_info else record.stack_info
        members: dict[str, object] = {
            "time": _stamp(record),
            "level": record.levelname,
            "logger": record.name,
            "request_id": request_id.get(),
            "message": record.getMessage(),
            **getattr(record, "members", {}),
        }
        if not is_safe(record):
            members = {
                name: redact(value) if isinstance(value, str) else value
                for name, value in members.items()
            }
        if trace:
            name = "exception" if record.exc_info else "stack"
            members[name] = redacted_traceback(trace)
        line = json.dumps(members)
        while len(line) >= LINE_LIMIT:
            texts = [
                (len(value), name) for name, value in members.items() if isinstance(value, str)
            ]
            length, longest = max(texts)
            if length < _SHORTEST:
                break  # the writer of the record has limited its other members
            text = str(members[longest])
            # The end of a traceback says what happened.
            cut = (
                f"...{text[-length // 2 :]}"
                if longest == "exception"
                else f"{text[: length // 2]}..."
            )
            members[longest] = cut
            line = json.dumps(members)
        return line


class _LineHandler(logging.Handler):
    """Writes each line in one call to a stream, or to the current `sys.stderr`."""

    stream: TextIO | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Format the line before taking the lock, because many threads compete for it."""
        if not self.filter(record):
            return False
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a bad log call must not fail the request
            # The report of `logging` itself would print the arguments without redaction.
            line = f"logging failed: {type(error).__name__} in a record of {record.name}"
        self.acquire()
        try:
            stream = self.stream or sys.stderr
            stream.write(f"{line}\n")
            stream.flush()
        except (OSError, ValueError):
            pass  # the stream is closed, so this cannot be reported anywhere
        finally:
            self.release()
        return True


_handler = _LineHandler()
_handler.setFormatter(_LineFormatter())


def _log_what_python_prints(*, wanted: bool) -> None:
    """Log what Python would write to stderr in lines of its own, or leave it to Python again."""
    if wanted is (sys.excepthook is _log_exception):
        return
    logging.captureWarnings(wanted)
    sys.excepthook = _log_exception if wanted else sys.__excepthook__
    threading.excepthook = _log_end_of_thread if wanted else threading.__excepthook__


def _log_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger("pyoci").critical("the process ends", exc_info=(kind, error, trace))


def _log_end_of_thread(caught: threading.ExceptHookArgs) -> None:
    if caught.exc_value is not None:
        logging.getLogger("pyoci").error("a thread ended", exc_info=caught.exc_value)
