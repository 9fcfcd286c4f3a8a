"""Requests to a WSGI application in this very process.

The embedded registry is called in the thread that asks, so a worker never waits for another worker
(or for itself) to answer.
"""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPHeaderDict, HTTPResponse

if TYPE_CHECKING:
    from _typeshed import OptExcInfo, WriteableBuffer
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

BUFFER_SIZE = 256 * 1024


class WSGIAdapter(BaseAdapter):
    """Answers requests by calling a WSGI application (PEP 3333) in the calling thread.

    Bodies are streamed both ways: the application reads the request's body as it is produced,
    and the response's body is made while it is read. Closing the response, or reading it to its
    end, closes the application's iterable.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        super().__init__()
        self._app = app

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002 - requests reads a body that is not to be streamed
        timeout: object = None,  # noqa: ARG002 - there is no connection to wait for
        verify: bool | str = True,  # noqa: ARG002 - nor a certificate
        cert: object = None,  # noqa: ARG002 - of either side
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002 - nor a way through a proxy
    ) -> requests.Response:
        """Call the application and return its answer, the body of it unread.

        Raises `requests.ConnectionError` if the application failed before it began its answer. If
        it fails later, reading the body raises what a broken connection raises.
        """
        exchange = _Exchange()
        try:
            exchange.run(self._app, _environ(request))
        except Exception as error:
            raise requests.ConnectionError(
                f"the application failed: {type(error).__name__}", request=request
            ) from error
        return self._response(request, exchange)

    def close(self) -> None:
        """Nothing is held between requests."""

    def _response(
        self, request: requests.PreparedRequest, exchange: "_Exchange"
    ) -> requests.Response:
        code, _, reason = exchange.status.partition(" ")
        headers = HTTPHeaderDict(exchange.headers)
        body = _ResponseBody(exchange.chunks, _length(request.method, int(code), headers))
        response = requests.Response()
        response.status_code = int(code)
        response.reason = reason
        response.headers = CaseInsensitiveDict(headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.url = request.url or ""
        response.request = request
        response.connection = self  # type: ignore[assignment] # the stubs know HTTPAdapter only
        response.raw = HTTPResponse(
            body=body,
            headers=headers,
            status=int(code),
            reason=reason,
            version=11,
            preload_content=False,
            decode_content=False,
            request_method=request.method,
            request_url=request.url,
        )
        return response


class _Exchange:
    """The server's side of one call: takes `start_response` and gathers the answer."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.chunks: Iterator[bytes] = iter(())
        self._written: list[bytes] = []
        self._is_sent = False

    def run(self, app: "WSGIApplication", environ: "WSGIEnvironment") -> None:
        body = app(environ, self._start_response)
        chunks = iter(body)
        try:
            # A generator calls start_response only when its first chunk is asked for.
            while not self.status:
                self._written.append(next(chunks))
        except StopIteration:
            _close(body)
            raise RuntimeError("start_response was never called") from None
        except BaseException:
            _close(body)
            raise
        self._is_sent = True
        self.chunks = _Chunks(self._written, chunks, body)

    def _start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: "OptExcInfo | None" = None,
        /,
    ) -> Callable[[bytes], object]:
        if self.status:
            if exc_info is None:
                raise RuntimeError("start_response was called twice")
            if self._is_sent and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        self.status = status
        self.headers = list(headers)
        return self._written.append


class _Chunks:
    """The chunks of an application's answer, and the `close` that goes with them."""

    def __init__(self, first: list[bytes], rest: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._first = first
        self._rest = rest
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first:
            return self._first.pop(0)
        return next(self._rest)

    def close(self) -> None:
        _close(self._body)


def _close(body: object) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


class _ResponseBody(io.RawIOBase):
    """A file to read the answer's chunks from; it closes itself at the end, as a socket does."""

    def __init__(self, chunks: Iterator[bytes], length: int | None) -> None:
        super().__init__()
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._remaining = length
        if length == 0:
            self.close()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        if self.closed or size == 0:
            return b""
        while not self._chunk:
            try:
                self._chunk = memoryview(next(self._chunks))
            except StopIteration:
                self.close()
                return b""
            except Exception as error:
                self.close()
                # urllib3 and requests know a socket's errors only.
                raise ConnectionAbortedError(f"the application failed: {error}") from error
        if self._remaining is not None:
            size = min(size, self._remaining)
        data = bytes(self._chunk[:size])
        self._chunk = self._chunk[size:]
        if self._remaining is not None:
            self._remaining -= len(data)
            if self._remaining == 0:
                self.close()
        return data

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(BUFFER_SIZE), b""))

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._chunk = memoryview(b"")
            _close(self._chunks)


@runtime_checkable
class _Readable(Protocol):
    """What requests takes for a file."""

    def read(self, size: int, /) -> bytes | str: ...


_Source = _Readable | Iterable[bytes | str]


class _RequestBody(io.RawIOBase):
    """What is left of the caller's body, up to its length; never closes what it reads from."""

    def __init__(self, source: "_Source", length: int | None) -> None:
        super().__init__()
        self._chunks = iter(()) if isinstance(source, _Readable) else iter(source)
        self._file = source if isinstance(source, _Readable) else None
        self._chunk = memoryview(b"")
        self._remaining = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        size = len(target) if self._remaining is None else min(len(target), self._remaining)
        if size == 0:
            return 0
        while not self._chunk:
            chunk = self._next(size)
            if chunk is None:
                return 0
            self._chunk = memoryview(chunk)
        data = self._chunk[:size]
        target[: len(data)] = data
        self._chunk = self._chunk[len(data) :]
        if self._remaining is not None:
            self._remaining -= len(data)
        return len(data)

    def _next(self, size: int) -> bytes | None:
        chunk = next(self._chunks, None) if self._file is None else self._file.read(size) or None
        return chunk.encode() if isinstance(chunk, str) else chunk


def _environ(request: requests.PreparedRequest) -> "WSGIEnvironment":
    url = urlsplit(request.url or "")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method or "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(url.path or "/").decode("latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname or "localhost",
        "SERVER_PORT": str(_port(url)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": url.netloc.rpartition("@")[2],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    for name, value in request.headers.items():
        key = _text(name).upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        environ[key] = _text(value)
    environ["wsgi.input"] = _input(request, environ.get("CONTENT_LENGTH"))
    return environ


def _input(request: requests.PreparedRequest, length: str | None) -> io.BufferedIOBase:
    # requests hands on files and iterables too, which its stubs do not say.
    body = cast("bytes | bytearray | str | _Source | None", request.body)
    if body is None:
        return io.BytesIO()
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes | bytearray):
        body = io.BytesIO(body)
    return io.BufferedReader(
        _RequestBody(body, None if length is None else int(length)), BUFFER_SIZE
    )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _length(method: str | None, status: int, headers: HTTPHeaderDict) -> int | None:
    """Bytes that the answer's body has; None = until the application's iterable ends."""
    if method == "HEAD" or status in {204, 304}:
        return 0
    length = headers.get("Content-Length")
    return int(length) if length is not None and length.isdigit() else None
