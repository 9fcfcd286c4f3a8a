"""Calls to a WSGI application from within its own process, without a socket."""

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPHeaderDict, HTTPResponse
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app

from pyoci_flask.errors import RegistryUnreachableError
from pyoci_flask.registry.call import Answer
from pyoci_flask.transport.request import Body

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


class WSGIAdapter(HTTPAdapter):
    """Sends requests to a WSGI application (PEP 3333) by calling it in the calling thread.

    Bodies are streamed both ways: the application reads the request body from the caller's file,
    and the response body is generated while it is read. Closing the response closes the
    application's iterable.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        super().__init__()
        self._app = app

    def send(
        self, request: requests.PreparedRequest, *_options: object, **_named: object
    ) -> requests.Response:
        """Call the application and return its response; only the first chunk of the body is read.

        The options for time-outs, certificates and proxies have no effect. Raises
        `requests.ConnectionError` if the application fails before its first chunk. An error in a
        later chunk looks like a broken connection.
        """
        try:
            chunks, status, headers = run_wsgi_app(self._app, _environ(request))
        except Exception as error:
            raise requests.ConnectionError(
                f"the application failed: {type(error).__name__}", request=request
            ) from error
        code, _, reason = status.partition(" ")
        raw = HTTPResponse(
            body=ResponseBody(chunks),
            headers=HTTPHeaderDict(headers),
            status=int(code),
            reason=reason,
            version=11,
            preload_content=False,
            decode_content=False,
            request_method=request.method,
            request_url=request.url,
        )
        return self.build_response(request, raw)

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, length: int | None
    ) -> Answer:
        """Answer a call as a registry in this process does (`transport.local`).

        Raises `RegistryUnreachableError` where an application fails.
        """
        request = requests.PreparedRequest()
        request.method, request.url = method, url
        request.headers = CaseInsensitiveDict(headers)
        if length is not None:
            request.headers["Content-Length"] = str(length)
        request.body = body  # type: ignore[assignment]  # requests sends files as well
        try:
            response = self.send(request)
            return Answer(response.status_code, dict(response.headers), response.content)
        except requests.RequestException as error:
            raise RegistryUnreachableError(str(error)) from error


class ResponseBody(io.RawIOBase):
    """Provides chunks as a file. `close` closes their iterable."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._iterator = iter(chunks)
        self._unread = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        while not self._unread:
            try:
                chunk = next(self._iterator, None)
            except Exception as error:
                raise ConnectionAbortedError(f"the application failed: {error}") from error
            if chunk is None:
                return 0
            self._unread = memoryview(chunk)
        size = min(len(target), len(self._unread))
        target[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()


def _environ(request: requests.PreparedRequest) -> "WSGIEnvironment":
    url = urlsplit(request.url or "")
    # requests also passes files on, although its stubs do not say so.
    body = cast("bytes | BinaryIO | None", request.body) or b""
    # This does not use `input_stream`, in which EnvironBuilder would seek to find the length.
    own: dict[str, object] = {
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body,
        "wsgi.input_terminated": True,
    }
    if "Content-Length" in request.headers:
        own["CONTENT_LENGTH"] = request.headers["Content-Length"]
    return EnvironBuilder(
        path=url.path,
        base_url=f"{url.scheme}://{url.netloc}",
        query_string=url.query,
        method=request.method or "GET",
        headers=Headers(request.headers.items()),
        environ_overrides=own,
    ).get_environ()
