"""Requests that a rule refuses: they cost little, but without the rule they did harm."""

import http.client
import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.hostile.attack import Attack, Target
from tests.servers import LOOPBACK

_SECRET = "ghp_0123456789abcdef"  # noqa: S105 -- invented
_BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "User-Agent": "Mozilla/5.0"}


class _AsksForBasic(http.server.BaseHTTPRequestHandler):
    """A registry that asks for a password, on plain http."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write no log line."""


@contextmanager
def _plain_registry() -> Iterator[int]:
    with http.server.HTTPServer((LOOPBACK, 0), _AsksForBasic) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _ask(
    target: Target, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(LOOPBACK, target.port, timeout=30)
    connection.request(method, path, body, dict(headers))
    return connection.getresponse()


def _plain_http(target: Target) -> str:
    with _plain_registry() as port:
        answer = _ask(target, "GET", f"/ui/http%3A%2F%2F{LOOPBACK}%3A{port}/acme/", _BROWSER)
    asked = answer.headers.get("WWW-Authenticate")
    return f"{answer.status}, asks for {asked}" if asked else str(answer.status)


def _token_as_user(target: Target) -> str:
    for path in (f"/{_SECRET}@{LOOPBACK}:1/acme/x/", f"/{LOOPBACK}:1/acme/a%253A{_SECRET}%2540b/"):
        _ask(target, "GET", path, {}).read()
    log = (target.folder.parent / "log").read_text(errors="replace")
    return f"{log.count(_SECRET)} times in the log"


def _rebound(target: Target) -> str:
    host = f"evil.example:{target.port}"
    headers = {"Host": host, "Origin": f"http://{host}", "Content-Length": "0"}
    return str(_ask(target, "POST", "/v2/team/x/blobs/uploads/", headers).status)


def _other_scheme(target: Target) -> str:
    headers = {"Origin": f"https://{LOOPBACK}:{target.port}"}
    return str(_ask(target, "DELETE", "/simple/hello/1.0", headers).status)


def _cached(target: Target) -> str:
    answer = _ask(target, "GET", "/v2/", {"Authorization": "Basic eDp5"})
    return f"Cache-Control: {answer.headers.get('Cache-Control', 'none')}"


_STORAGE = {"PYOCI_STORAGE": "{folder}/storage"}

ATTACKS = [
    Attack(
        "3",
        "a link to the pinned registry's host by plain http",
        _plain_http,
        {"PYOCI_INDEX": f"{LOOPBACK}/acme"},
    ),
    Attack("11", "a token as user name, or encoded twice, in a path", _token_as_user),
    Attack("15", "an upload from a page whose host name leads to this machine", _rebound, _STORAGE),
    Attack("15", "a deletion with the `Origin` of another scheme", _other_scheme, _STORAGE),
    Attack("15", "a shared cache in front of `/v2/`", _cached, _STORAGE),
]
