"""Uploads that are refused before their body has been read, by real clients."""

import contextlib
import http.client
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.clients import run
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.servers import RunningServer, gunicorn, self_signed

SIZE = 20_000_000
REFUSED = {
    "/quay.io/acme/": 403,
    "/nothing/here/": 404,
    "/simple/": 404,
    "/ghcr.io/acme/": 507,
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for one registry, whose folder for uploads is missing."""
    tmp = tmp_path_factory.mktemp("app")
    spool = tmp / "spool"
    spool.mkdir()
    with gunicorn(tmp, {"PYOCI_REGISTRIES": "ghcr.io", "PYOCI_SPOOL": str(spool)}) as running:
        spool.rename(tmp / "elsewhere")
        yield running


@pytest.mark.parametrize("path", REFUSED)
def test_twine_shows_the_answer(app: RunningServer, tmp_path: Path, path: str) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0", size=SIZE)
    where = ["--username=a", "--password=b", "--repository-url", f"{app.url}{path}"]

    said = run(tmp_path, "twine", "upload", "--disable-progress-bar", *where, wheel, succeeds=False)

    assert f" {REFUSED[path]} " in said
    assert "Traceback" not in said
    assert "RemoteDisconnected" not in said


@pytest.mark.parametrize("path", REFUSED)
def test_the_next_request_of_the_client_is_answered(app: RunningServer, path: str) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    client = http.client.HTTPConnection("127.0.0.1", app.port, timeout=PATIENCE)
    with contextlib.closing(client):
        for _ in range(2):
            client.request("POST", path, bytes(SIZE), headers)
            answer = client.getresponse()
            assert answer.status == REFUSED[path]
            assert answer.headers["Connection"] == "close"
            answer.read()
        client.request("GET", "/health")
        assert client.getresponse().status == 200


def test_the_next_request_over_tls_is_answered(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=certificate)

    def asked(port: int, method: str, path: str, body: bytes = b"") -> http.client.HTTPResponse:
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=trust)
        with contextlib.closing(client):
            client.request(method, path, body)
            return client.getresponse()

    with gunicorn(
        tmp_path,
        {"PYOCI_REGISTRIES": "ghcr.io"},
        f"--certfile={certificate}",
        f"--keyfile={key}",
        ready=lambda: "Booting worker" in next(tmp_path.glob("gunicorn-*.log")).read_text(),
    ) as app:
        answer = asked(app.port, "POST", "/quay.io/acme/", bytes(SIZE))
        assert (answer.status, answer.headers["Connection"]) == (403, "close")
        assert asked(app.port, "GET", "/health").status == 200


@pytest.fixture(scope="module")
def storing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the embedded registry and one user, `a` with the password `b`."""
    tmp = tmp_path_factory.mktemp("storing")
    users = tmp / "htpasswd"
    users.write_text(f"a:{bcrypt.hashpw(b'b', bcrypt.gensalt(4)).decode()}\n")
    environ = {"PYOCI_STORAGE": str(tmp / "storage"), "PYOCI_STORAGE_USERS": str(users)}
    with gunicorn(tmp, environ) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/simple/", 51_000_000, 413),
        ("/nothing/here/", 5, 404),
        ("/nothing/here/", SIZE, 404),
        ("/simple/foo/", SIZE, 404),
        ("/v2/a/blobs/uploads/", SIZE, 401),
        ("/ghcr.io/acme/", SIZE, 403),
    ],
)
def test_a_client_that_expects_100_continue_is_refused_before_it_sends_the_body(
    storing: RunningServer, tmp_path: Path, path: str, size: int, status: int
) -> None:
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n\r\n"
    )
    environ = {"PYOCI_REGISTRIES": "quay.io"} if status == 403 else {}
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(gunicorn(tmp_path, environ)).port if environ else storing.port
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
        client.sendall(request.encode())
        received = b""
        while piece := client.recv(65536):
            received += piece

    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nConnection: close\r\n" in received


def test_curl_gets_100_continue_before_it_sends_its_file(
    storing: RunningServer, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0", size=SIZE)
    command = ["curl", "--silent", "--show-error", "--verbose", "--user", "a:b"]
    command += ["--header", "Expect: 100-continue", "--expect100-timeout", str(PATIENCE)]
    command += [
        "--form",
        ":action=file_upload",
        "--form",
        "name=foo",
        "--form",
        f"content=@{wheel}",
    ]
    done = subprocess.run(
        [*command, f"{storing.url}/simple/"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )

    assert "< HTTP/1.1 100 Continue" in done.stderr
    assert done.stdout == f"published {wheel.name}\n"
