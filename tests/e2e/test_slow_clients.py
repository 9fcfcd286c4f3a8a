"""Crowds of slow clients together with normal ones, on one worker with the default settings."""

import contextlib
import hashlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.packages import make_wheel
from tests.servers import LOOPBACK, RunningServer, gunicorn, nginx
from tests.slow_clients import crowd, half_sent, reader, uploader

pytestmark = pytest.mark.acceptance

_SIZE = 50_000_000
_WATCHED = 2.0
"""Seconds for which `/health` is called."""
_WINDOWS = 4
_HONEST = 20.0
"""Seconds that a page and a file may take during a crowd."""


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One worker with its own registry."""
    tmp = tmp_path_factory.mktemp("slow")
    settings = {"PYOCI_STORAGE": str(tmp / "storage"), "PYOCI_MAX_BODY": str(2 * _SIZE)}
    with gunicorn(tmp, settings) as running:
        yield running


@pytest.fixture(scope="module")
def proxied(
    direct: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The shipped nginx in front of it."""
    with nginx(tmp_path_factory.mktemp("nginx"), direct) as running:
        yield running


@pytest.fixture(params=["direct", "proxied"])
def server(request: pytest.FixtureRequest) -> RunningServer:
    """Each of the two in turn."""
    found: RunningServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def wheel(direct: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published wheel that is larger than what the kernel buffers for a connection."""
    found = make_wheel(tmp_path_factory.mktemp("big"), "big", "1.0", size=_SIZE)
    form = {":action": "file_upload", "protocol_version": "1", "name": "big", "version": "1.0"}
    with requests.Session() as session, found.open("rb") as content:
        session.trust_env = False
        answer = session.post(f"{direct.url}/simple/", data=form, files={"content": content})
    assert answer.status_code == 200, answer.text
    return found


def _health_is_quick(server: RunningServer) -> bool:
    """Return whether each response takes less than a second; some may be late on a busy machine."""
    return any(_slowest_health(server) < 1.0 for _ in range(_WINDOWS))


def _slowest_health(server: RunningServer) -> float:
    slowest, end = 0.0, time.monotonic() + _WATCHED
    context = ssl.create_default_context(cafile=server.certificate) if server.certificate else None
    while time.monotonic() < end:
        begun = time.monotonic()
        probe = (
            http.client.HTTPConnection(LOOPBACK, server.port, timeout=30)
            if context is None
            else http.client.HTTPSConnection(LOOPBACK, server.port, timeout=30, context=context)
        )
        with contextlib.closing(probe):
            probe.request("GET", "/health")
            assert probe.getresponse().status == 200
        slowest = max(slowest, time.monotonic() - begun)
        time.sleep(0.05)
    return slowest


def _honest_seconds(server: RunningServer, wheel: Path) -> float:
    """Return the seconds that an installer takes for a page and a file."""
    begun = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False
        session.verify = True if server.certificate is None else str(server.certificate)
        page = session.get(f"{server.url}/simple/big/", timeout=30)
        assert page.status_code == 200, page.text
        file = session.get(f"{server.url}/simple/big/{wheel.name}", timeout=30)
    assert hashlib.sha256(file.content).digest() == hashlib.sha256(wheel.read_bytes()).digest()
    return time.monotonic() - begun


@pytest.mark.parametrize(
    "kinds", [("readers",), ("half",), ("uploads",), ("readers", "half", "uploads")]
)
def test_300_slow_clients_of_each_kind_leave_the_server_to_others(
    server: RunningServer, wheel: Path, kinds: tuple[str, ...]
) -> None:
    behaviours = {
        "readers": reader(f"/simple/big/{wheel.name}"),
        "half": half_sent("/simple/big/"),
        "uploads": uploader("/simple/"),
    }
    with contextlib.ExitStack() as crowds:
        for kind in kinds:
            crowds.enter_context(
                crowd(behaviours[kind], server.port, certificate=server.certificate)
            )
        assert _health_is_quick(server)
        assert _honest_seconds(server, wheel) < _HONEST


def test_a_registry_that_hangs_on_70_ports_leaves_the_server_to_others(
    direct: RunningServer, wheel: Path
) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(70):
            silent = opened.enter_context(socket.create_server((LOOPBACK, 0)))
            path = f"/http%3A%2F%2F{LOOPBACK}%3A{silent.getsockname()[1]}/acme/project/"
            for _ in range(3):
                client = socket.create_connection((LOOPBACK, direct.port))
                opened.enter_context(client).sendall(
                    f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                )
        assert _health_is_quick(direct)
        assert _honest_seconds(direct, wheel) < _HONEST
