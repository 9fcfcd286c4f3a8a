"""A large download under `run` that is not from an index, also through the user's own proxy."""

import contextlib
import hashlib
import http.client
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.doubles import wsgi_server
from tests.run_lab import RunLab, run_lab, run_under

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PART = bytes(range(256)) * 4096
PARTS = 100
"""A hundred parts of a mebibyte each."""
DOWNLOAD = """
import hashlib, os, re, sys, urllib.request
for name in ("no_proxy", "NO_PROXY"):
    del os.environ[name]  # the server of this test is on the loopback interface
digest = hashlib.sha256()
with urllib.request.urlopen(sys.argv[1]) as answer:
    while chunk := answer.read(1 << 20):
        digest.update(chunk)
with open(f"/proc/{os.getppid()}/status") as file:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", file.read())[1]
print(digest.hexdigest(), peak)
"""
"""Prints the digest of what it received, and the most memory that `run` has used, in KiB."""


def _origin(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    parts = int(environ["PATH_INFO"].strip("/"))
    headers = [] if environ["QUERY_STRING"] else [("Content-Length", str(parts * len(PART)))]
    start_response("200 OK", headers)
    return (PART for _ in range(parts))


class _Proxy:
    """A small forward proxy, as a company has it; it wants a user name and a password."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if environ.get("HTTP_PROXY_AUTHORIZATION") != "Basic Ym9iOnB3":  # bob:pw
            start_response("407 Proxy Authentication Required", [])
            return
        self.asked.append(environ["REQUEST_URI"])
        url = urlsplit(environ["REQUEST_URI"])
        with contextlib.closing(http.client.HTTPConnection(url.netloc)) as connection:
            connection.request("GET", f"{url.path}?{url.query}".rstrip("?"))
            reply = connection.getresponse()
            start_response(f"{reply.status} {reply.reason}", [])
            while chunk := reply.read(65536):
                yield chunk


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLab]:
    with run_lab(tmp_path_factory.mktemp("forward")) as lab:
        yield lab


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    application: WSGIApplication = _origin
    with wsgi_server(application) as url:
        yield url


def _download(lab: RunLab, url: str, environ: dict[str, str] | None = None) -> tuple[str, int]:
    done = run_under(lab, sys.executable, "-c", DOWNLOAD, url, environ=environ)
    digest, peak = done.stdout.split()
    return digest, int(peak)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "query", ["", pytest.param("?without-length", marks=pytest.mark.acceptance)]
)
@pytest.mark.parametrize("through", ["directly", "through a proxy"])
def test_a_large_download_is_passed_on_unchanged_and_needs_no_memory(
    lab: RunLab, origin: str, through: str, query: str
) -> None:
    proxy = _Proxy()
    with wsgi_server(proxy) as url:
        own = url.replace("http://", "http://bob:pw@")
        environ = {"http_proxy": own} if through != "directly" else None
        _, small = _download(lab, f"{origin}/1{query}", environ)
        digest, large = _download(lab, f"{origin}/{PARTS}{query}", environ)
    expected = hashlib.sha256()
    for _ in range(PARTS):
        expected.update(PART)
    assert digest == expected.hexdigest()
    assert large - small < 20 * 1024, f"{small} KiB before, {large} KiB after"
    if environ:
        assert proxy.asked == [f"{origin}/1{query}", f"{origin}/{PARTS}{query}"]
    else:
        assert proxy.asked == []
