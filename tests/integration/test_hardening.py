"""Input from registries, packages and other sites' pages does no harm."""

import http.client
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, answering, tripwire, wsgi_server
from tests.integration.index_client import IndexClient, address, links
from tests.packages import make_wheel
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ALLOWED = {
    "Accept-Ranges",
    "Last-Modified",
    "Allow",
    "Cache-Control",
    "Connection",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "Content-Security-Policy",
    "Content-Type",
    "Date",
    "ETag",
    "Location",
    "Referrer-Policy",
    "Retry-After",
    "Server",
    "Vary",
    "WWW-Authenticate",
    "X-Content-Type-Options",
    "X-Request-Id",
}
"""Every header that a response may have."""
MARK = "evil-upstream"
SCRIPT = '"><script>alert(1)</script>'
BROKEN_LINE = "\r\nSet-Cookie: evil=1\r\n\r\n<script>alert(1)</script>\x1b[2J\u2028\u202e"


@dataclass(frozen=True, slots=True)
class Chatty:
    """Adds to every response of a registry what must not reach the client."""

    app: "WSGIApplication"

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        response = Response.from_app(self.app, environ, buffered=True)
        for name, value in {
            "Set-Cookie": f"session={MARK}; Path=/",
            "Server": MARK,
            "X-Evil": MARK,
            "X-Request-Id": MARK,
            "Content-Encoding": MARK,
            "Content-Language": MARK,
            "Link": f'</{MARK}?x=1>; rel="next"',
            "Access-Control-Allow-Origin": f"https://{MARK}",
            "Refresh": f"0; url=https://{MARK}/",
            "Content-Security-Policy": f"script-src {MARK}",
            "Cache-Control": f"public, {MARK}",
            "Vary": MARK,
            "Retry-After": MARK,
            "Content-Disposition": f"inline; filename={MARK}",
            "Location": f"https://{MARK}/",
        }.items():
            if name != "Location" or "Location" not in response.headers:
                response.headers[name] = value
        return response(environ, start)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def _assert_harmless_html(page: str) -> None:
    parser = _Tags()
    parser.feed(page)
    parser.close()
    assert parser.tags <= {
        *("html", "head", "meta", "title", "body", "h1", "h2", "a", "br", "p", "pre", "code"),
        "link",
    }
    assert parser.attributes <= {
        *(
            "lang",
            "charset",
            "name",
            "content",
            "href",
            "rel",
            "data-requires-python",
            "data-yanked",
        ),
        *("data-core-metadata", "data-dist-info-metadata"),
    }


def _assert_guarded(response: requests.Response, *, own_script: bool = False) -> None:
    assert {name.title() for name in response.headers} <= {name.title() for name in ALLOWED}
    assert not any(MARK in value for value in response.headers.values()), response.headers
    assert "evil=1" not in str(response.headers)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("script-src 'self';" in policy) if own_script else ("script-src" not in policy)
    assert response.reason.isascii()
    assert response.reason.isprintable()


@pytest.fixture
def chatty(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[IndexClient]:
    with wsgi_server(Chatty(create_registry(tmp_path / "registry"))) as url:
        yield IndexClient(f"{app_server()}/{address(url)}/team", None, http)


def test_no_header_of_the_registry_reaches_the_client(chatty: IndexClient, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")
    file = f"/foo/{wheel.name}"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    answers = {
        "publish": chatty.publish(wheel, "foo", "1.0"),
        "again": chatty.publish(wheel, "foo", "1.0"),
        "page": chatty.get("/foo/"),
        "json": chatty.get("/foo/", headers=accept),
        "legacy": chatty.get("/foo/json"),
        "no slash": chatty.get("/foo"),
        "file": chatty.get(file),
        "head": chatty.request("HEAD", file),
        "part": chatty.get(file, headers={"Range": "bytes=1-5"}),
        "metadata": chatty.get(f"{file}.metadata"),
        "no file": chatty.get("/foo/foo-2.0.tar.gz"),
        "no project": chatty.get("/bar/"),
        "yank": chatty.request("PATCH", file, json={"yanked": "why"}),
        "delete": chatty.request("DELETE", file),
        "not allowed": chatty.request("DELETE", "/foo/"),
    }
    statuses = {name: answer.status_code for name, answer in answers.items()}
    assert statuses == {
        "publish": 200,
        "again": 409,
        "page": 200,
        "json": 200,
        "legacy": 200,
        "no slash": 301,
        "file": 200,
        "head": 200,
        "part": 206,
        "metadata": 200,
        "no file": 404,
        "no project": 404,
        "yank": 200,
        "delete": 200,
        "not allowed": 405,
    }
    for answer in answers.values():
        _assert_guarded(answer)
    assert answers["file"].content == wheel.read_bytes()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 418, 429, 500, 503])
def test_no_header_of_a_refusal_reaches_the_client(
    app_server: AppServer, http: requests.Session, status: int
) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no"}]})
    with wsgi_server(Chatty(Response(body, status, content_type="application/json"))) as url:
        answer = http.get(f"{app_server()}/{address(url)}/team/foo/", auth=("alice", "secret"))
    assert answer.status_code >= 400
    _assert_guarded(answer)
    assert "Retry-After" not in answer.headers  # the value was neither seconds nor a date


@pytest.mark.parametrize("path", ["/", "/health", "/robots.txt", "/nothing", "/.env", "/simple/"])
def test_pages_of_no_index_are_guarded_too(
    app_server: AppServer, http: requests.Session, path: str
) -> None:
    _assert_guarded(http.get(f"{app_server()}{path}"), own_script=path == "/")


def _hostile_index(title: str, requires: str, reason: str) -> bytes:
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{'0' * 64}",
        "size": 10,
        "platform": {"architecture": ".tar.gz", "os": SCRIPT},
        "annotations": {
            "com.pyoci.sha256_digest": "1" * 64,
            "com.pyoci.project_urls": json.dumps({SCRIPT: f"javascript:{SCRIPT}"}),
            "org.opencontainers.image.title": title,
            "com.pyoci.requires_python": requires,
            "com.pyoci.yanked": reason,
            "com.pyoci.size": SCRIPT,
            "org.opencontainers.image.created": SCRIPT,
            "com.pyoci.core_metadata_sha256": SCRIPT,
        },
    }
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "artifactType": "application/pyoci.package.v1",
        "manifests": [entry],
        "annotations": {
            SCRIPT: SCRIPT,
            "com.pyoci.summary": BROKEN_LINE,
            "com.pyoci.home_page": f"javascript:{SCRIPT}",
        },
    }
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("title", "requires", "reason"),
    [
        ("foo-1.0.tar.gz", f">=3{SCRIPT}", SCRIPT),
        (f"foo-1.0{SCRIPT}.tar.gz", "<4", f"broken {BROKEN_LINE}"),
        ("foo-1.0.tar.gz\r\nSet-Cookie: evil=1", BROKEN_LINE, "' onmouseover='alert(1)"),
        ("../../etc/passwd", "&lt;script&gt;", "<!--"),
        ("javascript:alert(1).tar.gz", "'", "]]></script>"),
    ],
)
def test_texts_of_a_package_do_no_harm_on_its_pages(
    app_server: AppServer,
    http: requests.Session,
    capsys: pytest.CaptureFixture[str],
    title: str,
    requires: str,
    reason: str,
) -> None:
    document = _hostile_index(title, requires, reason)

    def registry(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path.endswith("/tags/list"):
            tags = ["1.0", SCRIPT, BROKEN_LINE, "../1.0", None, 7]
            return Response(json.dumps({"tags": tags}))(environ, start)
        if request.path.endswith("/manifests/1.0"):
            return Response(document)(environ, start)
        return Response("", 404)(environ, start)

    with wsgi_server(registry) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", None, http)
        html = index.get("/foo/", headers={"Accept": "text/html"})
        simple = index.get("/foo/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
        legacy = index.get("/foo/json")

    for answer in (html, simple, legacy):
        assert answer.status_code == 200, answer.text
        _assert_guarded(answer)
    _assert_harmless_html(html.text)
    for link in links(html.text):
        assert re.fullmatch(r"[A-Za-z0-9._%+-]+(#sha256=[0-9a-f]{64})?", link.href), link
    for entry in simple.json()["files"]:
        assert "/" not in entry["url"]
        assert ":" not in entry["url"]
    assert "javascript:" not in json.dumps(legacy.json().get("info", {}))
    assert all(line.startswith("time=") for line in capsys.readouterr().err.splitlines())


@pytest.mark.parametrize("status", [400, 401, 403, 405, 409, 429, 500])
def test_words_of_a_registry_stay_words(
    app_server: AppServer,
    http: requests.Session,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    status: int,
) -> None:
    words = {"code": f"DENIED{BROKEN_LINE}", "message": f"{SCRIPT}{BROKEN_LINE}{'x' * 5000}"}
    body = json.dumps({"errors": [words]})
    with wsgi_server(answering(Response(body, status, content_type="text/html"))) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", ("a", "b"), http)
        answers = [
            index.get("/foo/"),
            index.get("/foo/foo-1.0.tar.gz"),
            index.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0"),
            index.request("DELETE", "/foo/1.0"),
        ]
    for answer in answers:
        assert answer.status_code >= 400
        _assert_guarded(answer)
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.text.count("\n") == 1
        assert len(answer.text) < 1500
        assert len(answer.reason) <= 200
        assert "\x1b" not in answer.text
    assert all(line.startswith("time=") for line in capsys.readouterr().err.splitlines())


@pytest.mark.parametrize(
    "location",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//user:secret@127.0.0.1/x",
        "http://[::1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http:///x",
        "gopher://127.0.0.1:6379/_FLUSHALL",
    ],
)
def test_location_that_is_no_address_of_a_registry_is_its_fault(
    app_server: AppServer, http: requests.Session, location: str
) -> None:
    def away(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        del environ
        start("307 Temporary Redirect", [("Location", location), ("Content-Length", "0")])
        return [b""]

    with wsgi_server(away) as url:
        answer = http.get(f"{app_server()}/{address(url)}/team/foo/")
    assert answer.status_code == 502, answer.text
    assert "secret" not in answer.text
    _assert_guarded(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/{registry}/team/foo%0d%0aSet-Cookie:%20evil=1",
        "/{registry}/team/foo%0d%0aSet-Cookie:%20evil=1/",
        "/{registry}/te%0d%0aam/foo/",
        "/{registry}/team/%2e%2e/foo/",
        "/{registry}/../../etc/passwd",
        "/{registry}/team/foo%00/",
        "/{registry}/team/<script>alert(1)</script>/",
        "/{registry}/team/foo/foo-1.0%22;%0d%0aevil=1.tar.gz",
        "/{registry}/team/foo/foo-1.0%0d%0aevil=1.tar.gz",
        "/{registry}/team/foo%3Fx=1/",
        "/{registry}/team/foo%23x/",
        "/{registry}%0d%0a/team/foo/",
        "/%5B::1%5D%0d%0a/team/foo/",
        "/http%3A%2F%2Fuser:secret@127.0.0.1/team/foo/",
        "/http%3A%2F%2F127.0.0.1%2Fv2%2F..%2Fx/team/foo/",
    ],
)
def test_names_in_a_path_reach_no_registry_and_no_header(
    app_server: AppServer, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    trap = tripwire()
    with wsgi_server(trap) as url:
        connection = http.client.HTTPConnection(urlsplit(app_server()).netloc, timeout=PATIENCE)
        connection.request("GET", path.replace("{registry}", address(url)).replace(" ", "%20"))
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
    assert answer.status in {301, 400, 404}
    assert answer.getheader("Set-Cookie") is None
    assert answer.reason.isprintable()
    assert "<script" not in body or answer.getheader("Content-Type", "").startswith("text/plain")
    if answer.status == 301:
        assert re.fullmatch(r"[A-Za-z0-9._%-]+/", answer.getheader("Location") or "")
    assert not any(quote(call.path, safe="/:") != call.path for call in trap.calls)
    assert not any(".." in call.path for call in trap.calls)
    assert "secret" not in body
    assert all(line.startswith("time=") for line in capsys.readouterr().err.splitlines())


@pytest.mark.parametrize("host", ['x"><script>alert(1)</script>', "evil.example/<b>", "a b", ""])
def test_host_header_does_no_harm_on_the_landing_page(app_server: AppServer, host: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(app_server()).netloc, timeout=PATIENCE)
    connection.putrequest("GET", "/", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    assert answer.status in {200, 400}
    _assert_harmless_html(page)


CROSS_SITE = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "{app}.evil.example"},
    {"Origin": "https://user@evil.example"},
    {"Origin": "http://[broken"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "Cross-Site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{app}"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://sibling.example"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
)


@pytest.mark.parametrize("headers", CROSS_SITE, ids=str)
def test_writes_from_another_sites_page_are_refused_before_anything_is_asked(
    app_server: AppServer, http: requests.Session, tmp_path: Path, headers: dict[str, str]
) -> None:
    calls = Recorder(create_registry(tmp_path / "registry"))
    with wsgi_server(calls) as url:
        app = app_server()
        index = IndexClient(f"{app}/{address(url)}/team", None, http)
        http.headers.update({name: text.replace("{app}", app) for name, text in headers.items()})
        answers = [
            index.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0"),
            index.request("DELETE", "/foo/1.0"),
            index.request("DELETE", "/foo/foo-1.0-py3-none-any.whl"),
            index.request("PATCH", "/foo/1.0", json={"yanked": True}),
        ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert calls.calls == []
    for answer in answers:
        _assert_guarded(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "{app}"},
        {"Origin": "https://packages.example.com"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {},
    ],
    ids=str,
)
def test_writes_from_elsewhere_than_another_sites_page_are_served(
    app_server: AppServer, http: requests.Session, tmp_path: Path, headers: dict[str, str]
) -> None:
    storage = {"PYOCI_STORAGE": str(tmp_path / "s")}
    app = app_server({**storage, "PYOCI_URL": "https://packages.example.com"})
    http.headers.update({name: text.replace("{app}", app) for name, text in headers.items()})
    index = IndexClient(f"{app}/simple", None, http)
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    assert index.request("PATCH", "/foo/1.0", json={"yanked": "why"}).status_code == 200
    assert index.request("DELETE", "/foo/1.0").status_code == 200


def test_reading_from_another_sites_page_is_answered_without_leave_to_read_it(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    app = app_server({"PYOCI_STORAGE": str(tmp_path / "s")})
    index = IndexClient(f"{app}/simple", None, http)
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    for method in ("GET", "OPTIONS"):
        answer = index.request(method, "/foo/", headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_warning_at_startup_says_that_any_host_can_be_called(
    app_server: AppServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for environ, warned in (
        ({}, "private addresses included"),
        ({"PYOCI_PRIVATE_NETWORKS": "deny"}, "public ones only"),
        ({"PYOCI_REGISTRIES": "ghcr.io"}, None),
        ({"PYOCI_INDEX": "ghcr.io/acme"}, None),
    ):
        app_server(environ)
        logged = capsys.readouterr().err
        assert ("PYOCI_REGISTRIES" in logged and "level=WARNING" in logged) is (warned is not None)
        assert warned is None or warned in logged


def test_proxy_is_used_for_listed_registries_only(
    app_server: AppServer, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = answering(Response(json.dumps({"tags": []}), content_type="application/json"))
    with wsgi_server(proxy) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        path = "/http%3A%2F%2Fregistry.test/team/foo/"
        listed = http.get(f"{app_server({'PYOCI_REGISTRIES': 'http://registry.test'})}{path}")
        open_to_all = http.get(f"{app_server()}{path}")
    assert listed.status_code == 200, listed.text
    assert open_to_all.status_code == 403
    assert "PYOCI_REGISTRIES" in open_to_all.text
    assert len(proxy.calls) == 1


def test_bytes_of_a_file_cannot_pass_for_a_page(
    app_server: AppServer, http: requests.Session
) -> None:
    content = b"<html><script>alert(1)</script></html>"
    digest = sha256(content).hexdigest()
    document = _hostile_index("foo-1.0.tar.gz", ">=3", "").replace(b"1" * 64, digest.encode())

    def registry(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        body = document if "/manifests/" in environ["PATH_INFO"] else content
        return Response(body, content_type="text/html")(environ, start)

    with wsgi_server(registry) as url:
        answer = http.get(f"{app_server()}/{address(url)}/team/foo/foo-1.0.tar.gz")
    assert answer.content == content
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    _assert_guarded(answer)
