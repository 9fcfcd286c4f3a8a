"""How large an upload may be, and what happens when there is no room for it."""

import contextlib
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.conftest import AppServer
from tests.doubles import Recorder
from tests.integration.index_client import IndexClient, address, upload_form
from tests.integration.oci_client import sha256
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE

DEFAULT_LIMIT = 50_000_000
MEBIBYTE = 1 << 20


def _connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def _answer(connection: socket.socket) -> str:
    """Return everything up to the end of the headers."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            break
        received += part
    return received.decode("latin-1")


def test_a_content_length_over_the_limit_is_refused_before_the_body_is_sent(
    shared_app: str, registry_calls: Recorder, registry_url: str
) -> None:
    with _connected(shared_app) as connection:
        connection.sendall(
            (
                f"POST /{address(registry_url)}/team/ HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n"
                "Content-Length: 51000000\r\n\r\n"
            ).encode()
        )
        answer = _answer(connection)

    assert answer.split()[1] == "413", answer
    assert (
        "has 51000000 bytes (51.0 MB), and this server accepts at most 50000000 bytes (50.0 MB)"
        in answer
    )
    assert registry_calls.calls == []


def test_a_limit_that_was_set_is_kept_and_named(
    app_server: AppServer, registry_url: str, http: requests.Session, tmp_path: Path
) -> None:
    app = app_server({"PYOCI_MAX_BODY": "20000"})
    index = IndexClient(f"{app}/{address(registry_url)}/team", None, http)

    small = index.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    large = index.publish(make_wheel(tmp_path, "foo", "2.0", size=20_000), "foo", "2.0")

    assert small.status_code == 200, small.text
    assert large.status_code == 413
    size = int(large.request.headers["Content-Length"])
    assert large.text == (
        "Make the file smaller, or ask the administrator of this server to raise PYOCI_MAX_BODY. "
        f"The request has {size} bytes, and this server accepts at most 20000 bytes: its "
        "administrator can raise PYOCI_MAX_BODY\n"
    )
    assert index.filenames("foo") == ["foo-1.0-py3-none-any.whl"]


def test_a_chunked_body_over_the_limit_is_refused(
    app_server: AppServer, registry_calls: Recorder, registry_url: str
) -> None:
    app = app_server({"PYOCI_MAX_BODY": "100000"})
    head = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a-1.0.tar.gz"\r\n\r\n'
    block = b"z" * 50_000
    with _connected(app) as connection:
        connection.sendall(
            (
                f"POST /{address(registry_url)}/team/ HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"
            ).encode()
        )
        connection.sendall(b"%x\r\n%s\r\n" % (len(head), head))
        # The server may answer and close the connection before it has received everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                connection.sendall(b"%x\r\n%s\r\n" % (len(block), block))
        answer = _answer(connection)

    assert answer.split()[1] == "413", answer
    assert registry_calls.writes == []


def test_a_long_description_and_many_classifiers_are_accepted(
    index: IndexClient, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")
    classifiers = [("classifiers", f"Private :: Number {number}") for number in range(1500)]

    response = index.publish(wheel, "foo", "1.0", ("description", "ä" * MEBIBYTE), *classifiers)

    assert response.status_code == 200, response.text
    assert index.get(f"/foo/{wheel.name}").content == wheel.read_bytes()


def test_fields_may_come_after_the_file(index: IndexClient, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")
    content = wheel.read_bytes()
    fields = upload_form("foo", "1.0", wheel.name, content)
    parts: list[tuple[str, tuple[str | None, str | bytes]]] = [("content", (wheel.name, content))]
    parts += [(key, (None, text)) for key, text in reversed(fields)]
    parts.append(("attestations", (None, "[]")))

    response = index.request("POST", "/", files=parts)

    assert response.status_code == 200, response.text
    (link,) = index.page("foo")
    assert link.href.endswith(sha256(content))


@contextlib.contextmanager
def _folder_with_room(folder: Path, size: int) -> Iterator[Path]:
    """Provide a folder with room for `size` bytes: its own file system if one can be mounted.

    Elsewhere (a container without the right to mount), the process itself cannot write more.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if (
        os.geteuid() == 0
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    ):
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield folder
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_spool_folder_is_a_507_and_nothing_is_pushed(
    app_server: AppServer,
    registry_calls: Recorder,
    registry_url: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    small = make_sdist(tmp_path, "foo", "1.0")
    large = make_wheel(tmp_path, "foo", "1.0", size=3 * MEBIBYTE)
    with _folder_with_room(tmp_path / "spool", MEBIBYTE) as spool:
        app = app_server({"PYOCI_SPOOL": str(spool), "PYOCI_CACHE_TTL": "0"})
        index = IndexClient(f"{app}/{address(registry_url)}/team", None, http)

        refused = index.publish(large, "foo", "1.0")
        writes = list(registry_calls.writes)
        accepted = index.publish(small, "foo", "1.0")
        left = [path for path in spool.rglob("*") if path.is_file() and path.stat().st_size]

    assert refused.status_code == 507, refused.text
    assert writes == []
    assert accepted.status_code == 200, accepted.text
    assert left == []
