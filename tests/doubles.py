"""Servers that stand in for a misbehaving registry, on sockets of the loopback interface."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from tests.ports import free_port

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOOPBACK = "127.0.0.1"


class _QuietHandler(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Write nothing: the applications under test write their own access log."""


def _closed_in_any_case(app: "WSGIApplication") -> "WSGIApplication":
    """Werkzeug's server does not close a response if its client resets the connection."""

    def serve(environ: "WSGIEnvironment", start: "StartResponse") -> Iterator[bytes]:
        body = app(environ, start)
        try:
            yield from body
        finally:
            getattr(body, "close", lambda: None)()

    return serve


@contextlib.contextmanager
def wsgi_server(app: "WSGIApplication") -> Iterator[str]:
    """Serve a WSGI application from a thread of this process; yields its URL without a slash."""
    server = make_server(
        LOOPBACK,
        free_port(),
        _closed_in_any_case(app),
        threaded=True,
        request_handler=_QuietHandler,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Yield the URL of a port that no program listens on or can take meanwhile."""
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        yield f"http://{LOOPBACK}:{held.getsockname()[1]}"


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Yield the URL of a server that accepts connections and never answers."""
    with socket.create_server((LOOPBACK, 0), backlog=64) as listener:
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was received."""

    method: str
    path: str
    authorization: str | None


@dataclass(slots=True)
class Recorder:
    """Passes every request on to `app` and records it; safe to read while the server runs."""

    app: "WSGIApplication"
    calls: list[Call] = field(default_factory=list)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        self.calls.append(
            Call(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION"))
        )
        return self.app(environ, start)

    @property
    def writes(self) -> list[Call]:
        """Return the calls that would have changed something."""
        return [call for call in self.calls if call.method not in {"GET", "HEAD"}]


@dataclass(slots=True)
class TokenGate:
    """Lets requests for `app` through only with `Authorization: Bearer {token}`.

    All others are sent to `/token`, which answers 401, as registries do to an anonymous caller
    without rights.
    """

    app: "WSGIApplication"
    token: str

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path == "/token":
            return Response("no", 401)(environ, start)
        if request.headers.get("Authorization") == f"Bearer {self.token}":
            return self.app(environ, start)
        challenge = f'Bearer realm="{request.host_url}token",service="double"'
        return Response("", 401, {"WWW-Authenticate": challenge})(environ, start)


@dataclass(frozen=True, slots=True)
class Tampering:
    """Answers every GET of the blob `digest` with `tampered(bytes)` and the true Content-Length."""

    app: "WSGIApplication"
    digest: str
    tampered: Callable[[bytes], bytes]

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.method != "GET" or not request.path.endswith(f"/blobs/{self.digest}"):
            return self.app(environ, start)
        honest = Response.from_app(self.app, environ, buffered=True)
        body = honest.get_data()
        honest.close()
        headers: list[tuple[str, Any]] = list(honest.headers)
        # Without this, a keep-alive connection would leave the reader of a short body waiting.
        headers.append(("Connection", "close"))
        start(honest.status, headers)
        return [self.tampered(body)]


@dataclass(frozen=True, slots=True)
class WriteOnce:
    """Refuses to delete, or to put a tag again, as registries with immutable tags do."""

    app: "WSGIApplication"

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.method == "DELETE":
            return _error(405, "UNSUPPORTED")(environ, start)
        named_by_tag = "/manifests/" in request.path and "/manifests/sha256:" not in request.path
        if request.method == "PUT" and named_by_tag and self._holds(request.path):
            return _error(400, "TAG_INVALID")(environ, start)
        return self.app(environ, start)

    def _holds(self, path: str) -> bool:
        asked = EnvironBuilder(method="HEAD", path=path)
        try:
            return Response.from_app(self.app, asked.get_environ()).status_code == 200
        finally:
            asked.close()


def _error(status: int, code: str) -> Response:
    body = json.dumps({"errors": [{"code": code, "message": "not here", "detail": None}]})
    return Response(body, status, content_type="application/json")


def answering(response: Response) -> Recorder:
    """A registry that gives the same response to everything."""
    return Recorder(response)


def tripwire() -> Recorder:
    """A registry for tests in which no registry may be called: see `calls`."""
    return answering(Response("", 404))
