"""Layers between the application and a registry: counters, gates and refusals."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from tests.doubles import wsgi_server
from tests.registries import RunningRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ALICE, BOB = ("alice", "alice-password"), ("bob", "bob-password")
"""Two users that `Members` knows: one may do everything, the other nothing."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """One GET or HEAD of a blob as the registry answered it."""

    method: str
    range: str | None
    status: int
    size: int
    """Number of bytes of the body."""


@dataclass(slots=True)
class BlobMeter:
    """Passes everything on and records the requests for blobs."""

    app: "WSGIApplication"
    fetches: list[Fetch] = field(default_factory=list)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if "/blobs/sha256:" not in request.path or request.method not in {"GET", "HEAD"}:
            return self.app(environ, start)
        response = Response.from_app(self.app, environ, buffered=True)
        size = 0 if request.method == "HEAD" else len(response.get_data())
        wanted = request.headers.get("Range")
        self.fetches.append(Fetch(request.method, wanted, response.status_code, size))
        return response(environ, start)

    @property
    def size(self) -> int:
        """Return the bytes of all blobs and parts that were sent."""
        return sum(fetch.size for fetch in self.fetches)


@dataclass(frozen=True, slots=True)
class WithoutRanges:
    """Answers every request, or those for some paths, as if it had no Range header."""

    app: "WSGIApplication"
    of: str = ""

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if self.of in environ["PATH_INFO"]:
            environ.pop("HTTP_RANGE", None)
        return self.app(environ, start)


@dataclass(frozen=True, slots=True)
class Refusing:
    """Answers `status` to the requests that `refuses` selects, and passes the rest on."""

    app: "WSGIApplication"
    refuses: Callable[[Request], bool]
    status: int = 403

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if self.refuses(Request(environ)):
            return error(self.status)(environ, start)
        return self.app(environ, start)


@dataclass(frozen=True, slots=True)
class DenyingWhatIsMissing:
    """Asks for Basic, and answers 403 to a list of a repository that does not exist (404)."""

    app: "WSGIApplication"

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if not request.authorization:
            return challenge('Basic realm="double"')(environ, start)
        if not request.path.endswith("/tags/list"):
            return self.app(environ, start)
        response = Response.from_app(self.app, environ, buffered=True)
        answer = response if response.status_code != 404 else error(403)
        return answer(environ, start)


@dataclass(frozen=True, slots=True)
class Members:
    """Asks for Basic: ALICE may do everything, BOB gets 403, other users are unknown."""

    app: "WSGIApplication"

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        sent = Request(environ).authorization
        user = None if sent is None else (sent.username, sent.password)
        if user == ALICE:
            return self.app(environ, start)
        if user == BOB:
            return error(403)(environ, start)
        return challenge('Basic realm="double"')(environ, start)


@dataclass(frozen=True, slots=True)
class WritersOnly:
    """Everyone may read; writing needs Basic credentials of ALICE."""

    app: "WSGIApplication"

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return self.app(environ, start)
        return Members(self.app)(environ, start)


@dataclass(frozen=True, slots=True)
class TokensForAll:
    """Bearer tokens for everyone; without ALICE's, the names in `private` are missing."""

    app: "WSGIApplication"
    private: frozenset[str]

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path == "/token":
            sent = request.authorization
            if sent is not None and (sent.username, sent.password) != ALICE:
                return error(401)(environ, start)
            token = "anonymous" if sent is None else "alice"
            answer = Response(json.dumps({"token": token}), content_type="application/json")
            return answer(environ, start)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in {"anonymous", "alice"}:
            return challenge(f'Bearer realm="{request.host_url}token"')(environ, start)
        hidden = any(f"/{name}/" in request.path for name in self.private)
        if token == "anonymous" and hidden:
            return error(404)(environ, start)
        return self.app(environ, start)


@dataclass(slots=True)
class Pulp:
    """Parses every config as JSON, and deletes a tag only after it was read `late` times."""

    app: "WSGIApplication"
    late: int = 2
    deleted: dict[str, int] = field(default_factory=dict)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.method == "PUT" and "/manifests/sha256:" in request.path:
            return self._put(request)(environ, start)
        if request.path.rpartition(":")[0].endswith("/manifests/sha256"):
            return self.app(environ, start)
        if "/manifests/" in request.path and request.method == "DELETE":
            self.deleted[request.path] = self.late
            return Response("", 202)(environ, start)
        if request.path in self.deleted:
            self.deleted[request.path] -= 1
            if self.deleted[request.path] < 0:
                del self.deleted[request.path]
                self._ask("DELETE", request.path)
        return self.app(environ, start)

    def _put(self, request: Request) -> Response:
        document = request.get_data()
        name = request.path.partition("/manifests/")[0]
        config = self._ask("GET", f"{name}/blobs/{json.loads(document)['config']['digest']}")
        try:
            json.loads(config.get_data())
        except ValueError:
            return Response("<h1>Server Error (500)</h1>", 500, content_type="text/html")
        return self._ask("PUT", request.path, document, request.headers["Content-Type"])

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Response:
        builder = EnvironBuilder(method=method, path=path, data=body, content_type=kind or None)
        try:
            return Response.from_app(self.app, builder.get_environ(), buffered=True)
        finally:
            builder.close()


def error(status: int) -> Response:
    """Return an error object of the distribution specification."""
    code = "NAME_UNKNOWN" if status == 404 else "DENIED"
    body = json.dumps({"errors": [{"code": code, "message": "not here", "detail": None}]})
    return Response(body, status, content_type="application/json")


def challenge(text: str) -> Response:
    """Return a 401 with this challenge."""
    return Response("", 401, {"WWW-Authenticate": text})


@contextmanager
def serving(
    app: "WSGIApplication", auth: tuple[str, str] | None = None
) -> Iterator[RunningRegistry]:
    """Serve a registry; `auth` is what the tests' own client sends."""
    username, password = auth or (None, None)
    with wsgi_server(app) as url:
        yield RunningRegistry(url, urlsplit(url).netloc, username, password, True, "double")
