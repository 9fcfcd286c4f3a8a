"""The interface of observers of calls to registries, and the observer that logs each call."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from pyoci_flask.common.redaction import REDACTED, redact
from pyoci_flask.logs import one_line
from pyoci_flask.transport.request import Request

logger = logging.getLogger("pyoci.registry")

_PATH_LIMIT = 1700
_PLAIN = re.compile(r"https?://([a-z0-9.-]+(?::[0-9]{1,5})?)(/[A-Za-z0-9._/-]{0,200})", re.ASCII)
"""Matches most URLs: without userinfo, a query or an escape. Only `eyJ` could begin a secret."""


class CallRecord(Protocol):
    """A registry call in progress."""

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        """Close the record. This is called exactly once, on any thread.

        It is called when the body has been read to its end, when the response is closed early, or
        when the call fails. `status` is None if no response arrived, `error` is None if nothing was
        raised. `sent` and `received` are the sizes of the two bodies in bytes.
        """


class CallObserver(Protocol):
    """Is notified of every HTTP exchange with a registry, its token service or its storage."""

    def call_started(self, method: str, url: str) -> CallRecord:
        """Open a record, on the thread that makes the call. `url` may contain secrets."""
        ...


class Call:
    """Collects the data of one exchange, and passes it to the observers when it ends."""

    def __init__(self, request: Request, observers: Sequence[CallObserver]) -> None:
        self.request = request
        self.error: BaseException | None = None
        self.received = 0
        self.ended = False
        self._records: list[CallRecord] = [
            one.call_started(request.method, request.url) for one in observers
        ]

    def end(self, status: int | None) -> None:
        """Call the observers once, with the status of the response if there was one."""
        self.ended = True
        sent = 0 if status is None else self.request.size
        for record in self._records:
            record.finished(status=status, error=self.error, sent=sent, received=self.received)
        # The error's traceback refers to this object. This cycle would keep connections open until
        # the garbage collector runs.
        self.error = None


class CallLog:
    """A `CallObserver` that writes one log line per call, at its end."""

    def call_started(self, method: str, url: str) -> CallRecord:
        """Start the clock of one call."""
        return _LoggedCall(method, url, time.monotonic())


@dataclass(frozen=True, slots=True)
class _LoggedCall:
    method: str
    url: str
    started: float

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        host, path = _host_and_path(self.url)
        method, milliseconds = _token(self.method), (time.monotonic() - self.started) * 1000
        failure = None if error is None else type(error).__name__
        members = {
            "message": f"{method} {host}{path}",
            "method": method,
            "host": host,
            "path": path,
            "status": status,
            **({} if failure is None else {"error": failure}),
            "duration_ms": round(milliseconds, 1),
            "bytes_in": received,
            "bytes_out": sent,
        }
        logger.info(
            "method=%s host=%s path=%s status=%s%s duration_ms=%.1f bytes_in=%d bytes_out=%d",
            method,
            host,
            path,
            "-" if status is None else status,
            "" if failure is None else f" error={failure}",
            milliseconds,
            received,
            sent,
            extra={"fields": True, "members": members},
        )


def _host_and_path(url: str) -> tuple[str, str]:
    plain = _PLAIN.fullmatch(url)
    if plain is not None and "eyj" not in url.lower():
        return plain[1], plain[2]
    parts = urlsplit(redacted(url))
    return _token(parts.netloc), _token(parts.path or "/")


def redacted(url: str) -> str:
    """Return a URL without userinfo, query and fragment, which may contain credentials.

    At most 2000 characters are kept.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # The URL cannot be parsed, so no part of it is known to be safe.
        return REDACTED
    path = parts.path[:_PATH_LIMIT]
    safe = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    return safe if redact(safe) == safe else REDACTED


def _token(text: str) -> str:
    """Return a value as one word for the log line; a redirect may contain any characters."""
    return one_line(text).replace(" ", "%20")
