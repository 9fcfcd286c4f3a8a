"""`PYOCI_VERIFY_DOWNLOADS`, with a registry that begins or ceases to send the right bytes."""

import contextlib
import hashlib
import http.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.access_log import answers
from tests.doubles import Tampering, wsgi_server
from tests.packages import make_wheel
from tests.registries import docker_registry
from tests.servers import RunningServer, gunicorn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_SIZE = 3_000_000
_TIMES = 6
"""Downloads, so that both workers serve some."""

Tampered = Callable[[bytes], bytes]


def _right(content: bytes) -> bytes:
    return content


def _wrong(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _short(content: bytes) -> bytes:
    return content[: len(content) // 2]


@dataclass
class _Registry:
    """The embedded registry, whose answers can be changed."""

    app: "WSGIApplication"
    digest: str = ""
    tampered: Tampered = field(default=_right)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> "Iterable[bytes]":
        return Tampering(self.app, self.digest, self.tampered)(environ, start)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[_Registry, str]]:
    """A registry and its URL."""
    made = _Registry(create_registry(tmp_path / "storage"))
    with wsgi_server(made) as url:
        yield made, url


@contextlib.contextmanager
def _server(tmp_path: Path, verify: str, **more: str) -> Iterator[RunningServer]:
    settings = {"PYOCI_VERIFY_DOWNLOADS": verify, "WEB_CONCURRENCY": "2", **more}
    # An aborted download is logged with its traceback.
    with gunicorn(tmp_path, settings, faults="ValueError|TypeError|AttributeError") as running:
        yield running


def _published(tmp_path: Path, registry: _Registry, index: str) -> tuple[str, bytes]:
    """Publish a wheel; return its URL and its content."""
    wheel = make_wheel(tmp_path, "hello", "1.0", size=_SIZE)
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello", "version": "1.0"}
    with wheel.open("rb") as file:
        answer = requests.post(index, data=form, files={"content": file}, timeout=60)
    assert answer.status_code == 200, answer.text
    content = wheel.read_bytes()
    registry.digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return f"{index}hello/{wheel.name}", content


def _download(url: str) -> bytes | None:
    """Return the file, or None if the response is not complete."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        assert answer.status == 200
        try:
            return answer.read()
        except (http.client.IncompleteRead, ConnectionResetError):
            return None


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("verify", "first", "second"),
    [
        # What is sent at first, and what is sent if the registry changes its bytes then.
        ("always", True, False),
        ("once", True, True),
        ("never", True, True),
    ],
)
def test_bytes_that_were_right_once(
    tmp_path: Path, registry: tuple[_Registry, str], verify: str, *, first: bool, second: bool
) -> None:
    app, url = registry
    with _server(tmp_path, verify) as server:
        file, content = _published(tmp_path, app, f"{server.url}/{quote(url, safe='')}/acme/")
        assert (_download(file) == content) is first
        app.tampered = _wrong
        found = [_download(file) for _ in range(_TIMES)]
        assert found == [_wrong(content) if second else None] * _TIMES
        app.tampered = _short
        assert [_download(file) for _ in range(_TIMES)] == [None] * _TIMES
        app.tampered = _right
        assert [_download(file) for _ in range(_TIMES)] == [content] * _TIMES


@pytest.mark.parametrize(("verify", "sent"), [("always", False), ("once", False), ("never", True)])
@pytest.mark.parametrize("ttl", ["0", "300"])
def test_bytes_that_were_never_right(
    tmp_path: Path, registry: tuple[_Registry, str], verify: str, ttl: str, *, sent: bool
) -> None:
    app, url = registry
    with _server(tmp_path, verify, PYOCI_CACHE_TTL=ttl) as server:
        file, content = _published(tmp_path, app, f"{server.url}/{quote(url, safe='')}/acme/")
        app.tampered = _wrong
        for _ in range(_TIMES):
            assert _download(file) == (_wrong(content) if sent else None)
        app.tampered = _right
        assert _download(file) == content


def test_the_access_log_counts_what_was_sent_straight(tmp_path: Path) -> None:
    """This registry keeps its connections, so the bytes take the shortcut."""
    with docker_registry(tmp_path) as found, _server(tmp_path, "once") as server:
        index = f"{server.url}/{found.address}/acme/"
        file, content = _published(tmp_path, _Registry(create_registry(tmp_path)), index)
        for _ in range(_TIMES):
            assert _download(file) == content
        lines = answers(server, "GET", file, _TIMES)
        assert [line["bytes_out"] for line in lines] == [str(len(content))] * _TIMES
        assert not any("aborted" in line for line in lines)
