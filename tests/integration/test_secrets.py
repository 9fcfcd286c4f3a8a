"""No secret that passes through the server appears in anything that it writes or answers."""

import base64
import gzip
import json
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.doubles import closed_port, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import challenge, error
from tests.otlp_collector import OTLPCollector
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE
from tests.servers import RunningServer, gunicorn, wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

USER, PASSWORD = "alice", "hunter2-basic-password"
BEARER = "hunter2-bearer-token"
ISSUED = "hunter2-issued-token"
SIGNED = "hunter2-signed-query"
COLLECTOR = "hunter2-collector-key"
USERINFO = "hunter2-userinfo"
WRONG = "hunter2-wrong-password"
IN_QUERY = "hunter2-in-the-query"
PLAIN = (PASSWORD, BEARER, ISSUED, SIGNED, COLLECTOR, USERINFO, WRONG, IN_QUERY)
PAIRS = tuple(
    base64.b64encode(f"{USER}:{secret}".encode()).decode().rstrip("=")
    for secret in (PASSWORD, WRONG)
)
SECRETS = (*PLAIN, *PAIRS, "hunter2")


@dataclass(slots=True)
class Storage:
    """A registry with a token service that redirects blobs to its own signed URL.

    Names that begin with `bad` make it fail in the way that the rest of the name says.
    """

    app: "WSGIApplication"
    seen: set[str] = field(default_factory=set)
    """The secrets that did reach it, which shows that the test used them."""

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        sent = request.headers.get("Authorization", "")
        self.seen |= {secret for secret in SECRETS if secret in f"{sent} {request.full_path}"}
        return self._answer(request, sent)(environ, start)

    def _answer(self, request: Request, sent: str) -> "WSGIApplication":
        signed = f"?X-Amz-Signature={SIGNED}&sig={SIGNED}&token={SIGNED}"
        if request.path == "/token":
            if WRONG in str(request.authorization and request.authorization.password):
                return error(401)
            return Response(json.dumps({"token": ISSUED, "access_token": ISSUED}))
        if request.path.startswith("/signed/"):
            return self._storage(request)
        if sent not in {f"Bearer {ISSUED}", f"Bearer {BEARER}"}:
            return challenge(f'Bearer realm="{request.host_url}token",service="s"')
        if "/bad_status/" in request.path:
            return Response(f"token {ISSUED} {sent}", 500)
        if "/bad_message/" in request.path:
            words = {"code": "DENIED", "message": f"not with {sent}, nor https://a:{USERINFO}@b/"}
            return Response(json.dumps({"errors": [words]}), 403)
        if "/bad_location/" in request.path:
            return Response("", 307, {"Location": f"https://user:{USERINFO}@127.0.0.1/x{signed}"})
        if "/bad_redirect/" in request.path:
            return Response("", 307, {"Location": f"http://169.254.169.254/x{signed}"})
        if "/bad_storage/" in request.path:
            return Response("", 307, {"Location": f"{request.host_url}signed/bad{signed}"})
        if "/bad_json/" in request.path:
            return Response(f'{{"token": "{ISSUED}"')
        if "/blobs/sha256:" in request.path and request.method == "GET":
            target = f"{request.host_url}signed{request.path}{signed}"
            return Response("", 307, {"Location": target})
        return self.app

    def _storage(self, request: Request) -> "WSGIApplication":
        if request.path.endswith("/bad"):
            return Response(f"<Error>{SIGNED} {request.full_path}</Error>", 403)
        path = request.path.removeprefix("/signed")

        def stored(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
            environ["PATH_INFO"] = path
            return self.app(environ, start)

        return stored


def _operations(base: str, wheel: Path, sdist: Path, auth: object) -> list[requests.Response]:
    """Return every request that a client may make, good and bad."""
    with requests.Session() as http:
        http.trust_env = False
        if isinstance(auth, str):
            http.headers["Authorization"] = auth
        index = IndexClient(base, auth if isinstance(auth, tuple) else None, http)
        file = f"/foo/{wheel.name}"
        answers = [
            index.publish(wheel, "foo", "1.0"),
            index.publish(wheel, "foo", "1.0"),
            index.publish(sdist, "foo", "2.0"),
            index.get("/foo/"),
            index.get("/foo"),
            index.get(f"/foo/?token={IN_QUERY}"),
            index.get("/foo/json"),
            index.get(file),
            index.get(file, headers={"Range": "bytes=1-5"}),
            index.get(f"{file}.metadata"),
            index.request("HEAD", file),
            index.request("PATCH", file, json={"yanked": "why"}),
            index.get("/foo/foo-9.0.tar.gz"),
            index.get("/foo/nonsense.whl"),
            index.request("DELETE", "/foo/2.0"),
            index.request("DELETE", "/foo/9.0"),
            index.request("DELETE", "/foo/"),
            index.request("PUT", "/foo/"),
        ]
        # Requests that are refused earlier need not be tried.
        faults = ("status", "message", "location", "redirect", "storage", "json")
        for fault in faults if auth == (USER, PASSWORD) else ():
            answers += [
                index.get(f"/bad-{fault}/"),
                index.get(f"/bad-{fault}/bad_{fault}-1.0.tar.gz"),
                index.request("DELETE", f"/bad-{fault}/1.0"),
                index.publish(sdist, f"bad-{fault}", "1.0", filename=f"bad_{fault}-1.0.tar.gz"),
            ]
        return answers


def _odd_requests(app: str, registry: str, dead: str) -> list[requests.Response]:
    """Return requests that contain secrets in the wrong places."""
    userinfo = registry.replace("://", f"://{USER}:{USERINFO}@")
    with requests.Session() as http:
        http.trust_env = False
        asked = [
            (f"{app}/{quote(userinfo, safe='')}/team/foo/", {}),
            (f"{app}/{quote(quote(userinfo, safe=''), safe='')}/team/foo/", {}),
            (f"{app}/{USER}:{USERINFO}@127.0.0.1/team/foo/", {}),
            (f"{app}/{address(dead)}/team/foo/", {"Authorization": f"Bearer {BEARER}"}),
            (f"{app}/{address(registry)}/team/foo/", {"Authorization": f"Digest {PASSWORD}"}),
            (f"{app}/{address(registry)}/team/foo/", {"Authorization": f"Basic !{PASSWORD}"}),
            (f"{app}/{address(registry)}/team/foo/", {"Authorization": f"Bearer {BEARER} x"}),
            (f"{app}/{address(registry)}/team/foo/", {"User-Agent": f"Bearer {BEARER}"}),
            (f"{app}/", {"Authorization": f"Bearer {BEARER}"}),
            (f"{app}/nothing?password={IN_QUERY}", {"Authorization": f"Bearer {BEARER}"}),
        ]
        return [http.get(url, headers=headers, allow_redirects=False) for url, headers in asked]


@pytest.mark.parametrize("level", [pytest.param("info", marks=pytest.mark.acceptance), "debug"])
def test_no_secret_is_logged_traced_or_answered(tmp_path: Path, level: str) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")
    sdist = make_sdist(tmp_path, "foo", "2.0")
    storage = Storage(create_registry(tmp_path / "registry"))
    with (
        OTLPCollector() as collector,
        wsgi_server(storage) as registry,
        closed_port() as dead,
        gunicorn(
            tmp_path,
            {
                "OTLP_ENDPOINT": collector.url,
                "OTLP_AUTH": f"Bearer {COLLECTOR}",
                # The instrumentation of Flask is configured to record as much as it can.
                "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
                "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
                "PYOCI_BEARER_USERNAME": "use-token",
                "LOG_LEVEL": level,
            },
        ) as server,
    ):
        base = f"{server.url}/{address(registry)}/team"
        answers: list[requests.Response] = []
        for auth in (
            (USER, PASSWORD),
            f"Bearer {BEARER}",
            ("use-token", BEARER),
            (USER, WRONG),
            None,
        ):
            answers += _operations(base, wheel, sdist, auth)
        answers += _odd_requests(server.url, registry, dead)
    emitted = {"the log": server.logged(), "the telemetry": _without_headers(collector)}
    for number, answer in enumerate(answers):
        asked = f"answer {number} to {answer.request.method} {answer.request.url}"
        emitted[asked] = f"{answer.status_code} {answer.reason} {answer.headers} {_text(answer)}"

    assert {BEARER, ISSUED, SIGNED, PAIRS[0], PAIRS[1]} <= storage.seen
    assert {200, 206, 301, 400, 401, 403, 404, 405, 409, 502} <= {a.status_code for a in answers}
    assert all(len(text) > 0 for text in emitted.values())
    assert "http.request.header.authorization" in emitted["the telemetry"]
    found = [
        (where, secret) for where, text in emitted.items() for secret in SECRETS if secret in text
    ]
    assert found == []


UNREADABLE = (
    f"GET /https://{USER}:{USERINFO}@ghcr.io/acme/",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Basic {PAIRS[0]}",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization {BEARER}: x",
    f"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n {BEARER}: x",
    f"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {BEARER}",
    f"GET / HTTP/1.1\r\nHost: x\r\nExpect: {BEARER}",
    f"GET / {BEARER}",
    f"{BEARER} / HTTP/1.1",
)


def test_what_cannot_be_read_as_a_request_is_not_quoted_in_the_log(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        first = server.workers
        _send_unreadable(server)
        server.process.send_signal(signal.SIGHUP)  # gunicorn sets up its log again
        wait_until(lambda: len(server.workers) == 1 and server.workers != first)
        _send_unreadable(server)
    said = server.logged()
    assert said.count("[WARNING] Invalid request from ip=127.0.0.1: ") == 2 * len(UNREADABLE)
    assert said.count("Invalid HTTP request line\n") == 2
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.parametrize("path", ["/simple/", f"/v2/foo/blobs/uploads/?digest=sha256:{'a' * 64}"])
@pytest.mark.parametrize("body", [BEARER, f"2\r\nab{BEARER}"], ids=["size", "end"])
def test_a_chunk_that_cannot_be_read_is_the_clients_fault_and_not_quoted(
    tmp_path: Path, path: str, body: str
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x"
    )
    with (
        gunicorn(tmp_path, {"PYOCI_STORAGE": str(tmp_path / "storage")}) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client,
    ):
        client.sendall(f"{head}\r\nTransfer-Encoding: chunked\r\n\r\n{body}\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert [secret for secret in SECRETS if secret in server.logged()] == []


def _send_unreadable(server: RunningServer) -> None:
    for request in UNREADABLE:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(f"{request}\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 ")


def _text(answer: requests.Response) -> str:
    packed = answer.content
    return (gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed).decode("latin-1")


def _without_headers(collector: OTLPCollector) -> str:
    """Return what was exported; only the collector's own Authorization may contain its key."""
    assert {export.headers["authorization"] for export in collector.exports} == {
        f"Bearer {COLLECTOR}"
    }
    return "\n".join(str(export.message) for export in collector.exports)
