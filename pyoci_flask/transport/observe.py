"""What the transport tells about each registry call: the observers' interface and the log line."""

import logging
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from pyoci_flask.common.redaction import REDACTED, redact

logger = logging.getLogger("pyoci.registry")

_PATH_LIMIT = 1700


class CallRecord(Protocol):
    """One registry call under way."""

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        """Close the record; called exactly once, on any thread.

        That is when the body was read to its end, when the response was closed early, or when
        the call failed. `status` is None if no answer came, `error` is None if nothing was
        raised; `sent` and `received` are the bytes of the two bodies.
        """


class CallObserver(Protocol):
    """Is told of every HTTP exchange with a registry, its token service or its storage."""

    def call_started(self, method: str, url: str) -> CallRecord:
        """Open a record, on the thread that makes the call. `url` may hold secrets."""


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
        parts = urlsplit(redacted(self.url))
        outcome = f"status={'-' if status is None else status}"
        if error is not None:
            outcome += f" error={type(error).__name__}"
        logger.info(
            "method=%s host=%s path=%s %s duration_ms=%.1f bytes_in=%d bytes_out=%d",
            _token(self.method),
            _token(parts.netloc),
            _token(parts.path or "/"),
            outcome,
            (time.monotonic() - self.started) * 1000,
            received,
            sent,
            extra={"fields": True},
        )


def redacted(url: str) -> str:
    """Drop the userinfo, query and fragment of a URL: each of them may hold a credential.

    Of the rest, at most 2000 characters are kept.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # Not to be taken apart, so nothing of it is known to be safe.
        return REDACTED
    path = parts.path[:_PATH_LIMIT]
    safe = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    return safe if redact(safe) == safe else REDACTED


def _token(text: str) -> str:
    """Keep a value of the line to one word, whatever a registry put into a redirect."""
    if text.isprintable() and " " not in text:
        return text
    return "".join(
        char if char.isprintable() and char != " " else char.encode("unicode_escape").decode()
        for char in text
    ).replace(" ", "%20")
