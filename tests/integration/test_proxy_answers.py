"""If a proxy in front of the registry answers 404, that is 502, and never a missing project."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.command_line import check, command
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.fallback_checks import (
    DENIED,
    SETTINGS,
    assert_leads_to_the_fallback,
    assert_stays,
)
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import ALICE, BOB, Members
from tests.packages import make_sdist, make_wheel
from tests.ports import free_port
from tests.proxy_answers import PROXY_BODIES
from tests.registries import RunningRegistry
from tests.servers import LOOPBACK, nginx_site

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WHEEL, SDIST = "internal_tool-1.0-py3-none-any.whl", "internal_tool-1.0.tar.gz"
EVERYTHING: Mapping[str, str] = SETTINGS | {
    "PYOCI_FALLBACK_DENIED": "redirect",
    "PYOCI_FALLBACK_EMPTY": "redirect",
}
NAME_UNKNOWN = b'{"errors":[{"code":"NAME_UNKNOWN"}]}'


@dataclass(slots=True)
class Proxy:
    """Passes requests on, except those that `hides` selects, to which it answers 404 itself."""

    app: "WSGIApplication"
    hides: Callable[[Request], bool] = lambda _: False
    body: bytes = b"404 page not found\n"
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if self.hides(Request(environ)):
            return Response(self.body, 404, self.headers)(environ, start)
        return self.app(environ, start)


@dataclass(frozen=True, slots=True)
class Lab:
    """An index for a registry behind a proxy, with the project `internal-tool` in it."""

    index: IndexClient
    proxy: Proxy
    folder: Path
    ui: str

    def requests(self) -> Iterator[tuple[str, requests.Response]]:
        """Return all that a client can ask about the project or its files, and do to them."""
        sdist = make_sdist(self.folder, "internal-tool", "1.0")
        wheel = make_wheel(self.folder, "internal-tool", "2.0")
        index, project = self.index, "/internal-tool"
        for kind in ("text/html", "application/vnd.pypi.simple.v1+json"):
            yield f"page as {kind}", index.get(f"{project}/", headers={"Accept": kind})
            yield f"HEAD as {kind}", index.request("HEAD", f"{project}/", headers={"Accept": kind})
        yield "dotted name", index.get("/internal.tool/")
        yield "json", index.get(f"{project}/json")
        yield "file", index.get(f"{project}/{WHEEL}")
        yield "metadata", index.get(f"{project}/{WHEEL}.metadata")
        yield "HEAD of a file", index.request("HEAD", f"{project}/{WHEEL}")
        yield "second file", index.publish(sdist, "internal-tool", "1.0")
        yield "new version", index.publish(wheel, "internal-tool", "2.0")
        yield "yank", index.request("PATCH", f"{project}/{WHEEL}", json={"yanked": True})
        yield "delete a file", index.request("DELETE", f"{project}/{WHEEL}")
        yield "delete a version", index.request("DELETE", f"{project}/1.0")
        yield "ui", index.session.get(self.ui, auth=index.auth, headers={"Accept": "text/html"})


MakeLab = Callable[..., Lab]


@pytest.fixture
def lab(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[MakeLab]:
    """Make an index for a registry behind a proxy; with ALICE's password if requested."""
    with ExitStack() as servers:

        def make(settings: Mapping[str, str], auth: tuple[str, str] | None = None) -> Lab:
            registry = create_registry(tmp_path / "registry")
            proxy = Proxy(registry if auth is None else Members(registry))
            url = servers.enter_context(wsgi_server(proxy))
            # Nothing is cached, so each request has to call the registry.
            root = app_server({"PYOCI_CACHE_TTL": "0", **settings})
            base = f"{address(url)}/team"
            index = IndexClient(f"{root}/{base}", auth, http)
            wheel = make_wheel(tmp_path, "internal-tool", "1.0")
            index.published(wheel, "internal-tool", "1.0")
            return Lab(index, proxy, tmp_path, f"{root}/ui/{base}/internal-tool/")

        yield make


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(EVERYTHING, id="fallback"),
        pytest.param({}, id="no fallback", marks=pytest.mark.acceptance),
    ],
)
@pytest.mark.parametrize(
    "auth",
    [
        pytest.param(None, id="anonymous", marks=pytest.mark.acceptance),
        pytest.param(ALICE, id="credentials"),
    ],
)
def test_whatever_a_proxy_answers_with_404_is_a_502(
    lab: MakeLab, settings: Mapping[str, str], auth: tuple[str, str] | None
) -> None:
    made = lab(settings, auth)
    for name, body in PROXY_BODIES.items():
        made.proxy.hides, made.proxy.body = lambda _: True, body
        for what, response in made.requests():
            assert response.status_code == 502, (name, what, response.text)
            assert "Location" not in response.headers, (name, what)
            assert "make the repository" not in response.text, (name, what)
    made.proxy.hides = lambda _: False
    assert made.index.filenames("internal-tool") == [WHEEL]


@pytest.mark.parametrize(
    "headers",
    [
        {"Docker-Distribution-Api-Version": "registry/2.0"},
        {"Content-Type": "application/json"},
        {"Content-Encoding": "gzip"},
    ],
    ids=["version header", "json", "gzip"],
)
def test_headers_do_not_make_an_answer_a_registrys(lab: MakeLab, headers: dict[str, str]) -> None:
    """The configuration that distribution recommends adds the header to nginx's own pages."""
    made = lab(EVERYTHING)
    made.proxy.hides, made.proxy.headers = lambda _: True, headers

    assert_stays(made.index.get("/internal-tool/"), 502)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (NAME_UNKNOWN, {"Content-Type": "text/plain"}),
        (gzip.compress(NAME_UNKNOWN), {"Content-Encoding": "gzip"}),
        (b'{"errors":[{"code":"NOT_FOUND","message":"repository not found"}]}', {}),
    ],
    ids=["plain", "gzip", "Harbor"],
)
def test_a_registrys_error_document_leads_to_the_fallback(
    lab: MakeLab, body: bytes, headers: dict[str, str]
) -> None:
    made = lab(SETTINGS)
    made.proxy.hides, made.proxy.body, made.proxy.headers = lambda _: True, body, headers

    assert_leads_to_the_fallback(made.index.get("/public-tool/"), "public-tool")


def test_the_answer_says_what_a_proxy_answered_and_what_to_check(lab: MakeLab) -> None:
    made = lab(SETTINGS)
    made.proxy.hides = lambda _: True

    text = made.index.get("/internal-tool/").text
    assert "answered 404 ('404 page not found') while listing versions" in text
    assert "proxy or load balancer in front of the registry" in text


@pytest.mark.parametrize("body", [b"{}", b'{"name": 7}', b"[]", b"<html>", b"null"])
def test_a_200_that_is_no_list_of_a_registry_is_a_502(lab: MakeLab, body: bytes) -> None:
    made = lab(EVERYTHING)

    def portal(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        return Response(body, 200)(environ, start)

    made.proxy.app = portal

    assert_stays(made.index.get("/internal-tool/"), 502)


def test_a_hidden_second_spelling_of_a_name_is_a_502(lab: MakeLab) -> None:
    """The original kept dots, so a dotted name has two repositories to look in."""
    made = lab(EVERYTHING)
    made.proxy.hides = lambda asked: "/secret.lib/" in asked.path

    assert_stays(made.index.get("/secret.lib/"), 502)


def test_hidden_manifests_are_not_taken_for_missing_versions(lab: MakeLab, tmp_path: Path) -> None:
    """Otherwise an upload to a version with a hidden index would replace that index."""
    made = lab(EVERYTHING)
    made.proxy.hides = lambda asked: "/manifests/" in asked.path and asked.method == "GET"

    for what, response in made.requests():
        if what != "new version":
            assert response.status_code == 502, (what, response.text)
    made.proxy.hides = lambda _: False
    assert WHEEL in made.index.filenames("internal-tool")
    content = (tmp_path / WHEEL).read_bytes()
    assert made.index.get(f"/internal-tool/{WHEEL}").content == content


def test_hidden_blobs_are_not_taken_for_missing_ones(lab: MakeLab) -> None:
    made = lab({})
    made.proxy.hides = lambda asked: "/blobs/" in asked.path

    assert_stays(made.index.get(f"/internal-tool/{WHEEL}"), 502)
    assert_stays(made.index.get(f"/internal-tool/{WHEEL}.metadata"), 502)
    assert made.index.filenames("internal-tool") == [WHEEL]


def test_a_proxy_that_knows_no_delete_leaves_the_bytes(lab: MakeLab) -> None:
    made = lab({})
    made.proxy.hides = lambda asked: asked.method == "DELETE"

    response = made.index.request("DELETE", "/internal-tool/1.0")
    assert response.status_code == 200, response.text
    assert "keeps the bytes" in response.text
    assert made.index.filenames("internal-tool") == []


@pytest.mark.parametrize("auth", [None, ALICE, BOB], ids=["anonymous", "alice", "bob"])
def test_404_of_a_token_service_is_a_502(
    app_server: AppServer, http: requests.Session, auth: tuple[str, str] | None
) -> None:
    def registry(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path == "/token":
            return Response("404 page not found", 404)(environ, start)
        challenge = f'Bearer realm="{request.host_url}token",service="double"'
        return Response("", 401, {"WWW-Authenticate": challenge})(environ, start)

    root = app_server(DENIED)
    with wsgi_server(registry) as url:
        index = IndexClient(f"{root}/{address(url)}/team", auth, http)
        assert_stays(index.get("/internal-tool/"), 502)


@pytest.mark.parametrize(
    "location",
    [
        "location / { return 404; }",
        "location / { return 404 'default backend - 404'; }",
        "location / { root /nonexistent; }",
        "location / { add_header X-Registry yes always; return 404; }",
        'location / { default_type application/json; return 404 \'{"message":"not found"}\'; }',
    ],
)
def test_nginx_own_404_is_a_502(
    app_server: AppServer,
    docker_open: RunningRegistry,
    http: requests.Session,
    tmp_path: Path,
    location: str,
) -> None:
    port = free_port()
    upstream = f"client_max_body_size 0; location /v2/team/ {{ proxy_pass {docker_open.url}; }}"
    site = f"server {{ listen {LOOPBACK}:{port}; {location} {upstream} }}"
    root = app_server(EVERYTHING)
    with nginx_site(tmp_path, port, site) as proxy:
        there = IndexClient(f"{root}/{address(proxy.url)}/team", None, http)
        assert_leads_to_the_fallback(there.get("/packaging/"), "packaging")
        hidden = IndexClient(f"{root}/{address(proxy.url)}/other", None, http)
        assert_stays(hidden.get("/internal-tool/"), 502)
        assert_stays(hidden.get("/internal-tool/json"), 502)
        wheel = make_wheel(tmp_path, "internal-tool", "1.0")
        refused = hidden.publish(wheel, "internal-tool", "1.0")
        assert_stays(refused, 502)
        assert "make the repository" not in refused.text


def test_check_says_that_a_proxy_answers(tmp_path: Path) -> None:
    proxy = Proxy(create_registry(tmp_path / "registry"))
    proxy.hides = lambda asked: asked.path != "/v2/"
    with wsgi_server(proxy) as url:
        done = check(url)

    assert done.status == 1
    marks = done.marks()
    assert [marks[step] for step in ("pull", "missing", "push")] == ["FAIL"] * 3
    assert done.output.count("proxy or load balancer") == 3


@pytest.mark.parametrize("hidden", ["team", "other"], ids=["source", "target"])
def test_copy_fails_where_a_proxy_hides_a_registry(lab: MakeLab, hidden: str) -> None:
    made = lab({})
    behind = f"{made.index.base}/"
    other = behind.replace("/team/", "/other/")
    made.proxy.hides = lambda asked: asked.path.startswith(f"/v2/{hidden}/")
    done = command("copy", behind, other, "internal-tool")

    assert done.status == 1
    assert "502" in done.output
    made.proxy.hides = lambda _: False
    assert made.index.filenames("internal-tool") == [WHEEL]


def test_the_catalog_of_a_proxy_is_none(lab: MakeLab) -> None:
    """A list of projects is never redirected, and installers do not request it."""
    made = lab(EVERYTHING)
    made.proxy.hides = lambda _: True

    response = made.index.get("/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    assert_stays(response, 404)
    assert "no list of its repositories" in response.text
    made.proxy.body = json.dumps({}).encode()
    assert_stays(made.index.get("/"), 404)
