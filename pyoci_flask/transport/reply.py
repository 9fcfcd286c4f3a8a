"""A response whose body is read from the connection when needed."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import cast

import requests
import urllib3

from pyoci_flask.common.outlet import FilePart, Outlet
from pyoci_flask.errors import (
    OversizedError,
    PyOCIError,
    TransferBrokenError,
)
from pyoci_flask.transport.deadline import DEADLINES
from pyoci_flask.transport.failures import late, log_failure
from pyoci_flask.transport.observe import Call
from pyoci_flask.transport.shortcut import CHUNK, FileShortcut, Look, Shortcut, SourceError

SMALL = 64 * 1024
"""Bytes. Only a larger body counts as large."""

_DRAIN_PATIENCE = 1.0
"""Seconds for reading the rest of an unwanted body. Beyond that, a new connection is cheaper."""


class Reply(AbstractContextManager["Reply"]):
    """A response whose body has not been read. Use it as a context manager, or close it."""

    file: FilePart | None = None
    """Where the body lies, if a registry in this process has it in a file."""

    def __init__(self, response: requests.Response, call: Call, patience: float) -> None:
        """Wrap a response. `read` may take `patience` seconds for the whole body."""
        self._response = response
        self._patience = patience
        self._raw = cast("urllib3.HTTPResponse", response.raw)
        self._decoding = False
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._take(call)

    def _take(self, call: Call) -> None:
        self._call = call
        self.request = call.request
        """The request as it was sent, with its Authorization."""
        self.url = call.request.url
        self.authorization = call.request.authorization

    @property
    def length(self) -> int | None:
        """The Content-Length, or None if the header is missing or not valid."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, limit: int, large: Callable[[], object] | None = None) -> bytes:
        """Read and decode the whole body; call `large` once if it exceeds 64 KiB.

        Raises:
            OversizedError: the body is larger than `limit` bytes after decoding.
        """
        body, size = io.BytesIO(), 0
        with DEADLINES.limit(self._patience, self._raw.shutdown) as deadline:
            try:
                for part in self._parts(decode=True):
                    size += len(part)
                    if size > limit:
                        self.close()
                        raise OversizedError(
                            f"{self.request.host} sent more than {limit} bytes; a response of this "
                            "kind must be smaller",
                            advice=f"Ask the administrator of {self.request.host} about "
                            "this response",
                        )
                    if large is not None and size > SMALL:
                        large()
                        large = None
                    body.write(part)
            except TransferBrokenError:
                if not deadline.expired:
                    raise
            # A body without a Content-Length looks complete even if it was cut off.
            if deadline.expired:
                error = late(self.request, "took too long to send its response")
                log_failure(error)
                raise error
        return body.getvalue()

    def chunks(self) -> Iterator[bytes]:
        """Stream the body as it was sent, without decoding a Content-Encoding."""
        return self._parts(decode=False)

    @property
    def received(self) -> int:
        """The bytes of the body so far, as they were sent."""
        return self._call.received

    def pass_on(self, most: int, outlet: Outlet, look: Look | None) -> Iterator[bytes]:
        """Send up to `most` bytes of the body straight to a client; `chunks` returns the rest.

        `look` is called with these bytes before they are sent. After each step, `b""` is yielded.
        The caller has to send what else is yielded before it goes on. If there is no way to do
        this, nothing is sent.
        """
        shortcut = self._shortcut()
        if shortcut is None:
            return
        try:
            first = shortcut.first()
            self._call.received += len(first)
            yield first
            while self.received < most:
                yield b""
                size = shortcut.step(most - self.received, outlet, look)
                self._call.received += size
                if not size:
                    return
        except (urllib3.exceptions.HTTPError, SourceError) as error:
            self._abort()
            raise self._broken(error) from error

    def _shortcut(self) -> Shortcut | FileShortcut | None:
        return Shortcut.of(self._raw)

    def _abort(self) -> None:
        self._raw.close()

    def _parts(self, *, decode: bool) -> Iterator[bytes]:
        self._decoding = decode
        try:
            if decode and self._is_short():
                # One read takes it all, and returns the connection to its pool.
                chunk = self._raw.read(decode_content=False)
                self._call.received += len(chunk)
                yield chunk
                if len(chunk) == self.length:
                    return
            while chunk := self._raw.read(CHUNK, decode_content=decode):
                self._call.received += len(chunk)
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._broken(error) from error
        finally:
            self.close()

    def _is_short(self) -> bool:
        """Whether a connection sends a body of at most 64 KiB that is not encoded."""
        return (
            self.length is not None
            and self.length <= SMALL
            and "Content-Encoding" not in self.headers
        )

    def _broken(self, error: Exception) -> PyOCIError:
        """Return what to raise because the body broke off, and record the error."""
        cause = error.cause if isinstance(error, SourceError) else error
        self._call.error = cause
        failure: PyOCIError
        if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
            failure = late(self.request, "stopped sending its response")
        else:
            failure = TransferBrokenError(
                f"{self.request.host} broke off in the middle of its response",
                advice=f"Try again, and look at the log of {self.request.host} if the "
                "problem persists",
            )
        failure.__cause__ = cause
        log_failure(failure)
        return failure

    def close(self) -> None:
        """Return the connection to its pool, or close it if the body was not read to its end."""
        if not self._call.ended:
            self._release()
            self._call.end(self.status)

    def _release(self) -> None:
        if not self._decoding:
            _drain(self._raw)
        self._response.close()


def _drain(raw: urllib3.HTTPResponse) -> None:
    """Read the rest of a body if it is short, so that the connection can serve another call."""
    left = raw.length_remaining
    if left is not None and left <= CHUNK:
        try:
            with DEADLINES.limit(_DRAIN_PATIENCE, raw.shutdown):
                # Read one byte more than is left, because the connection is returned only at the
                # end of the body, even if the response has no body.
                raw.read(left + 1, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError):
            raw.close()
