"""Assigns ids to requests, and writes the access log, which has one line for each request."""

import io
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pyoci_flask.common.outlet import OUTLET, Outlet
from pyoci_flask.logs import one_line, request_id
from pyoci_flask.web.gate import NoPlaceError
from pyoci_flask.web.incoming import safe_host, safe_path, safe_user_agent

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("pyoci.access")

ENVIRON_REQUEST_ID = "pyoci.request_id"
"""Key of the request's id in the WSGI environ."""

_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHOD_LIMIT = 40
# RFC 9110 section 6.4.1
_BODILESS_STATUSES = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request whose response was completed or aborted."""

    request_id: str
    method: str
    path: str
    """At most 2000 characters of the path, percent-encoded and without query and userinfo."""
    host: str
    """At most 200 characters of the Host header, percent-encoded and without userinfo, or `-`."""
    user_agent: str
    """At most 200 characters of the User-Agent, with control characters and quotes escaped."""
    status: int | None = None
    """None if the application raised an exception before it started a response."""
    aborted: bool = False
    """Whether the client disconnected or the application failed before the end of the body."""
    error: BaseException | None = None
    """The exception that the application raised, or None."""
    duration: float = 0.0
    """Seconds from the head of the request to the end of the response."""
    bytes_in: int = 0
    """Bytes of the request body that the application read."""
    bytes_out: int = 0
    """Bytes of the response body that were passed to the server."""


class RequestObserver(Protocol):
    """Observes each request in the context in which the application runs."""

    def request_started(self, environ: "WSGIEnvironment") -> Callable[[RequestRecord], None]:
        """Observe the start of a request, and return a function that is called once at its end.

        A context variable that is set here is visible to this request only.
        """
        ...


class AccessLog:
    """WSGI middleware (PEP 3333) that gives each request an id, a log line and a context.

    If the request has a valid `X-Request-Id`, that is its id. Otherwise, a request that is made
    in-process while another request is being served gets the id of the outer request, and every
    other request gets a new id. The id is in `environ["pyoci.request_id"]`, in
    `pyoci_flask.logs.request_id` and in the `X-Request-Id` header of the response.

    The application and the body run in their own `contextvars.Context`. Variables that they set
    there are visible neither to the next request of the thread nor to an outer request.
    Bytes that are passed to the deprecated `write` callable are not counted.
    """

    def __init__(self, app: "WSGIApplication", observers: Sequence[RequestObserver] = ()) -> None:
        self._app = app
        self._observers = tuple(observers)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Serve one request."""
        exchange = _Exchange(environ, start_response, self._observers)
        try:
            exchange.chunks = exchange.run(self._app, environ, exchange.start_response)
        except NoPlaceError:
            raise  # the request will be served again
        except BaseException as error:
            exchange.finish(aborted=True, error=error)
            raise
        return exchange


class _Exchange:
    """One request, and the body of its response. Each step runs in the context of the request."""

    chunks: Iterable[bytes]
    """The iterable that the application returned."""

    def __init__(
        self,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
        observers: Iterable[RequestObserver],
    ) -> None:
        self._started = time.monotonic()
        self._start_response = start_response
        outer_id = request_id.get()
        self._nested = outer_id is not None
        incoming = str(environ.get("HTTP_X_REQUEST_ID", ""))
        # These values are read now, because the application may change them later.
        self._record = RequestRecord(
            incoming if _VALID_ID.fullmatch(incoming) else outer_id or uuid.uuid4().hex,
            str(environ.get("REQUEST_METHOD", "")),
            safe_path(environ),
            safe_host(environ),
            safe_user_agent(environ),
        )
        self._status: int | None = None
        self._content_length: int | None = None
        self._bytes_out = 0
        self._iterator: Iterator[bytes] | None = None
        self._exhausted = False
        self._error: BaseException | None = None
        self._finished = False
        environ[ENVIRON_REQUEST_ID] = self._record.request_id
        self._outlet: Outlet | None = environ.get(OUTLET)
        environ["wsgi.input"] = self._input = _CountedInput(environ.get("wsgi.input", io.BytesIO()))
        self.run = copy_context().run
        self.run(request_id.set, self._record.request_id)
        self._ends = [self.run(one.request_started, environ) for one in observers]

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: "OptExcInfo | None" = None,
        /,
    ) -> Callable[[bytes], object]:
        self._status = int(status[:3])
        known = {name.lower(): value for name, value in headers}
        length = known.get("content-length", "")
        self._content_length = int(length) if length.isdecimal() else None
        kept = [header for header in headers if header[0].lower() != "x-request-id"]
        kept.append(("X-Request-Id", self._record.request_id))
        if exc_info is None:
            return self._start_response(status, kept)
        return self._start_response(status, kept, exc_info)

    def finish(self, *, aborted: bool, error: BaseException | None) -> None:
        if self._finished:
            return
        self._finished = True
        record = replace(
            self._record,
            status=self._status,
            aborted=aborted,
            error=error,
            duration=time.monotonic() - self._started,
            bytes_in=self._input.count,
            bytes_out=self._bytes_out + (0 if self._outlet is None else self._outlet.sent),
        )
        self.run(_write_line, record)
        for end in self._ends:
            self.run(end, record)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = self.run(iter, self.chunks)
            chunk = self.run(next, self._iterator)
        except StopIteration:
            self._exhausted = True
            raise
        except BaseException as error:
            self._error = error
            raise
        self._bytes_out += len(chunk)
        return chunk

    def close(self) -> None:
        """End the request. The server always calls this (PEP 3333)."""
        try:
            close = getattr(self.chunks, "close", None)
            if close is not None:
                self.run(close)
        except BaseException as error:
            self._error = error
            raise
        finally:
            aborted = self._error is not None or not self._is_whole()
            self.finish(aborted=aborted, error=self._error)

    def _is_whole(self) -> bool:
        bodiless = self._record.method == "HEAD" or self._status in _BODILESS_STATUSES
        if self._exhausted or bodiless:
            return True
        # A caller in the same process may stop after Content-Length bytes. A server reads to the
        # end unless it could not send the last chunk.
        return self._nested and self._bytes_out == self._content_length


class _CountedInput(io.IOBase):
    """A `wsgi.input` that counts the bytes that are read. `IOBase` reads lines with `read`."""

    def __init__(self, stream: "InputStream") -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data


def _write_line(record: RequestRecord) -> None:
    method = one_line(record.method[:_METHOD_LIMIT])
    failure = None if record.error is None else type(record.error).__name__
    members = {
        "message": f"{method} {record.path}",
        "status": record.status,
        "method": method,
        "path": record.path,
        "host": record.host,
        "user_agent": record.user_agent,
        "duration_ms": round(record.duration * 1000, 1),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        **({"aborted": True} if record.aborted else {}),
        **({} if failure is None else {"error": failure}),
    }
    logger.log(
        # Health checks call this every few seconds.
        logging.DEBUG if record.path == "/health" else logging.INFO,
        'status=%s method=%s path=%s host=%s user_agent="%s" duration_ms=%.1f bytes_in=%d '
        "bytes_out=%d%s%s",
        "-" if record.status is None else record.status,
        method,
        record.path,
        record.host,
        record.user_agent,
        record.duration * 1000,
        record.bytes_in,
        record.bytes_out,
        " aborted=true" if record.aborted else "",
        "" if failure is None else f" error={failure}",
        extra={"fields": True, "members": members},
    )
