"""Debian's nginx with deploy/nginx.conf in front of the application."""

import json
import socket
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.clients import pip_install, twine_upload, uv_install
from tests.packages import make_wheel
from tests.registries import RunningRegistry
from tests.servers import RunningServer, gunicorn, nginx

_SUB_PATH = "/acme-corp"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The application under a sub-path."""
    with gunicorn(tmp_path_factory.mktemp("backend"), {"PYOCI_PATH": _SUB_PATH}) as running:
        yield running


@pytest.fixture(scope="module", params=["/", f"{_SUB_PATH}/"])
def proxy(
    request: pytest.FixtureRequest,
    backend: RunningServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningServer]:
    """nginx, with its location as shipped and with one for a sub-path."""
    with nginx(tmp_path_factory.mktemp("proxy"), backend, location=request.param) as running:
        yield running


@pytest.fixture
def http(proxy: RunningServer) -> Iterator[requests.Session]:
    """A session that trusts the proxy's certificate."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(proxy.certificate)
        yield session


@pytest.fixture
def index(proxy: RunningServer, docker_open: RunningRegistry) -> str:
    """An index of a registry that is written as a URL."""
    registry = docker_open.url.replace(":", "%3A").replace("/", "%2F")
    return f"{proxy.url}{_SUB_PATH}/{registry}/ns-{uuid.uuid4().hex[:12]}/team/"


def test_twine_publishes_and_pip_and_uv_install(
    proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    # Larger than nginx accepts by default.
    wheel = make_wheel(tmp_path, "behind.nginx", "1!2.0+local.1", size=5_000_000)
    twine_upload(tmp_path, index, "--cert", str(proxy.certificate), wheel)
    expected = {"behind.nginx": "1!2.0+local.1"}
    trusted = ["--cert", str(proxy.certificate)]
    assert pip_install(tmp_path, index, tmp_path / "pip", *trusted, "behind-nginx") == expected
    trusted = ["--allow-insecure-host", "127.0.0.1"]
    assert uv_install(tmp_path, index, tmp_path / "uv", *trusted, "behind-nginx") == expected


def test_a_redirect_stays_behind_the_proxy(
    index: str, http: requests.Session, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "some-pkg", "1.0")
    twine_upload(tmp_path, index, "--cert", str(http.verify), wheel)
    page = http.get(f"{index}some-pkg", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    assert [each.status_code for each in page.history] == [301]
    assert page.url == f"{index}some-pkg/"
    [file] = json.loads(page.text)["files"]
    assert file["filename"] == wheel.name
    content = http.get(f"{page.url}{file['url']}")
    assert content.content == wheel.read_bytes()
    assert content.headers["Content-Length"] == str(wheel.stat().st_size)


def test_a_token_of_nearly_32_kib_passes(http: requests.Session, index: str) -> None:
    answer = http.get(f"{index}some-pkg/", headers={"Authorization": f"Bearer {'x' * 32_000}"})
    # The registry asks for no token, and has no such package.
    assert answer.status_code == 404


def _head(proxy: RunningServer, path: str, headers: str) -> bytes:
    """Send the headers of a request and none of its body; return the response."""
    context = ssl.create_default_context(cafile=proxy.certificate)
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(f"{path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        return connection.recv(65536)


@pytest.mark.parametrize("body", ["Content-Length: 40000000", "Transfer-Encoding: chunked"])
def test_a_large_body_is_refused_before_it_is_received_where_no_file_is_sent(
    proxy: RunningServer, body: str
) -> None:
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "BREW"):
        answer = _head(proxy, f"{method} {_SUB_PATH}/simple/", f"{body}\r\n")
        assert answer.startswith(b"HTTP/1.1 413 "), method
    requests = [f"POST {path}" for path in ("/", "/?x", "/ui", "/ui/simple/", "/health", "/v2")]
    requests += ["GET /v2/", "DELETE /v2/a/manifests/x"]
    for request in requests:
        answer = _head(proxy, request, f"{body}\r\n")
        # With a location for the sub-path only, nothing is served at these addresses.
        assert answer[9:12] in {b"413", b"404", b"405"}, request


def test_a_body_that_is_larger_than_any_upload_is_refused_before_it_is_received(
    proxy: RunningServer,
) -> None:
    headers = "Content-Length: 60000000\r\nAuthorization: Basic x\r\n"
    answer = _head(proxy, f"POST {_SUB_PATH}/simple/", headers)
    assert answer.startswith(b"HTTP/1.1 413 "), answer


def test_the_pages_show_the_address_that_the_browser_used(
    proxy: RunningServer, http: requests.Session
) -> None:
    page = http.get(f"{proxy.url}{_SUB_PATH}/")
    assert page.status_code == 200
    assert f"{proxy.url}{_SUB_PATH}/" in page.text
