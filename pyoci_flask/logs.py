"""Logging to stderr: one line per record, with the request's id and without secrets."""

import logging
import re
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("pyoci_request_id", default=None)
"""The id of the request being served; `web.access` sets it, every log line carries it."""

REDACTED = "[redacted]"

# The words that follow a scheme's name in a sentence or in a challenge, where no token stands.
_PROSE = (
    r"(?!(?:auth\w*|challenges?|credentials?|tokens?|schemes?|realm|scope|service|error"
    r"|and|or|is|was|are|for|with|where|from|at|to|in|of)(?:[\s,;:)\"'\\=]|\.?$|\.\s))"
)
# Each with texts, in lower case, without one of which the pattern cannot match.
_SECRETS = (
    # RFC 9110 section 11.4: a scheme and a token68.
    (
        ("basic", "bearer"),
        re.compile(rf"\b(Basic|Bearer)(\s+|%20){_PROSE}[A-Za-z0-9._~+/=%-]+", re.IGNORECASE),
        rf"\1\2{REDACTED}",
    ),
    # RFC 3986 section 3.2.1: userinfo, also where the URL stands percent-encoded in a path, or
    # lost a slash on its way through a proxy. A password may hold an @ that nobody encoded.
    (
        ("@", "%40", "2540"),
        re.compile(
            r"((?::|%(?:25)*3A)(?:/|%(?:25)*2F){1,2})"
            r"(?:(?!%(?:25)*2F)[^\s/\"])*(@|%(?:25)*40)",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}\2",
    ),
    # The same without a scheme, as somebody writes who puts credentials before the registry.
    (
        ("@",),
        re.compile(r"""(?<![^\s/"'=(])[^\s/"'=()@:]+:[^\s/"'@]+@(?=[\w\[])"""),
        f"{REDACTED}@",
    ),
    # Signed URLs of the registries' storage.
    (
        ("?", "&"),
        re.compile(
            r"([?&][\w.-]{0,40}(?:sig|signature|token|credential|secret|password|key|keyid)=)"
            r"[^&\s\"'()<>]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    # RFC 7519: a JSON Web Token, wherever it stands.
    (("eyj",), re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), REDACTED),
)

_handler: "_StderrHandler | None" = None
_levelled: frozenset[str] = frozenset()


def configure_logging(levels: Mapping[str, str]) -> None:
    """Send every record to stderr, one line each, at the levels asked for.

    `levels` maps a logger's name ("" = the root, INFO if absent) to the name of its level. A
    second call replaces the first; handlers that others have installed stay.
    """
    global _handler, _levelled
    root = logging.getLogger()
    if _handler is None:
        _handler = _StderrHandler()
        _handler.setFormatter(_LineFormatter())
    if _handler not in root.handlers:
        root.addHandler(_handler)
    for name in _levelled - levels.keys():
        logging.getLogger(name).setLevel(logging.NOTSET)
    # At DEBUG urllib3 prints each URL with its query, which is where signed URLs are signed.
    applied = {"": "INFO", "urllib3": "INFO", **levels}
    for name, level in applied.items():
        number = logging.getLevelNamesMapping()[level]
        if name == "urllib3" or name.startswith("urllib3."):
            number = max(number, logging.INFO)
        logging.getLogger(name).setLevel(number)
    _levelled = frozenset(applied)


def redact(text: str) -> str:
    """Replace credentials in `text`: the last defence, for text that should hold none.

    Known are an Authorization value, the userinfo of a URL, a signed URL's query and a JSON Web
    Token.
    """
    folded = text.casefold()
    for signs, pattern, replacement in _SECRETS:
        if any(sign in folded for sign in signs):
            text = pattern.sub(replacement, text)
    return text


def one_line(text: str) -> str:
    """Escape whatever is not printable, so that no text can forge or hide a line."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def quoted(text: str) -> str:
    """Write `text` as one value in double quotes, with everything in it escaped that needs it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{one_line(escaped)}"'


class _LineFormatter(logging.Formatter):
    """`time=... level=... logger=... request_id=... ` and the message.

    A record made with `extra={"fields": True}` has a message of `key=value` pairs already; any
    other message, and a traceback, is written as one quoted value.
    """

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        message = record.getMessage()
        fields = getattr(record, "fields", False)
        line = (
            f"time={stamp}.{int(record.msecs):03}Z level={record.levelname} logger={record.name}"
            f" request_id={request_id.get() or '-'}"
            f" {one_line(message) if fields else f'message={quoted(redact(message))}'}"
        )
        if record.exc_info:
            line += f" exception={quoted(redact(self.formatException(record.exc_info)))}"
        if record.stack_info:
            line += f" stack={quoted(redact(self.formatStack(record.stack_info)))}"
        # Once more over the whole: a secret may reach from one part into the next.
        return redact(line)


class _StderrHandler(logging.Handler):
    """Writes to the stderr of the moment, a line at once."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Make the line before the lock is taken, which many threads want at once."""
        if not self.filter(record):
            return False
        line = self._line(record)
        self.acquire()
        try:
            self._write(line)
        finally:
            self.release()
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self._line(record))

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001 - a bad log call must not fail the request
            # Not logging's own report: that prints the arguments, unredacted.
            return f"logging failed: {type(error).__name__} in a record of {record.name}"

    def _write(self, line: str) -> None:
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # Nobody reads stderr any more; there is nowhere left to say so.
            return
