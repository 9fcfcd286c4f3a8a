import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pyoci_flask.registry import create_registry
from tests.doubles import wsgi_server
from tests.patience import PATIENCE
from tests.unit.registry.client import (
    INDEX,
    RegistryClient,
    digest_of,
    error,
    in_process,
    index,
    over_socket,
)


def test_the_version_check_answers(registry: RegistryClient) -> None:
    for path in ("/v2/", "/v2"):
        response = registry.get(path)

        assert (response.status_code, response.json()) == (200, {})
        assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2/", "GET, HEAD"),
        ("DELETE", "/v2/_catalog", "GET, HEAD"),
        ("PUT", "/v2/a/tags/list", "GET, HEAD"),
        ("POST", "/v2/a/manifests/1.0", "DELETE, GET, HEAD, PUT"),
        ("PATCH", f"/v2/a/blobs/{digest_of(b'')}", "DELETE, GET, HEAD"),
        ("OPTIONS", "/v2/", "GET, HEAD"),
        ("PROPFIND", "/v2/", "GET, HEAD"),
    ],
)
def test_another_method_is_unsupported(
    registry: RegistryClient, method: str, path: str, allowed: str
) -> None:
    response = registry.request(method, path)

    assert error(response) == (405, "UNSUPPORTED")
    assert response.headers["Allow"] == allowed


def test_a_request_for_a_websocket_is_unsupported(registry: RegistryClient) -> None:
    response = registry.get("/v2/", Connection="Upgrade", Upgrade="websocket")

    assert error(response) == (400, "UNSUPPORTED")


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2/a", "/v2/a/unknown/list", "/v3/a/tags/list"])
def test_another_address_is_unknown(registry: RegistryClient, path: str) -> None:
    assert error(registry.get(path)) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "Cross-Site"}, 403),
        ({"Origin": "http://registry"}, 202),
        ({"Origin": "HTTP://Registry"}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
    ],
)
def test_a_page_of_another_site_cannot_write(
    registry: RegistryClient, headers: dict[str, str], status: int
) -> None:
    response = registry.request("POST", "/v2/a/blobs/uploads/", headers=headers)

    assert response.status_code == status


def test_a_body_whose_connection_breaks_is_a_bad_request(registry: RegistryClient) -> None:
    class Broken:
        def __len__(self) -> int:
            return 100

        def read(self, size: int = -1, /) -> bytes:
            raise ConnectionResetError(f"{size} bytes were asked for")

    location = registry.begin_upload("a")

    assert error(registry.request("PATCH", location, Broken())) == (400, "SIZE_INVALID")


def test_what_came_before_a_client_left_is_there_to_go_on_with(storage: Path) -> None:
    with wsgi_server(create_registry(storage)) as origin:
        client = over_socket(origin)
        location = client.begin_upload("a")
        netloc = urlsplit(origin)
        with socket.create_connection((netloc.hostname, netloc.port), timeout=PATIENCE) as leaving:
            head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
            leaving.sendall(head.encode() + b"x" * 300)
            leaving.shutdown(socket.SHUT_WR)
            answer = leaving.makefile("rb").read()
        status = client.get(location)
        client.session.close()

    assert b" 400 " in answer.splitlines()[0]
    assert b"SIZE_INVALID" in answer
    assert status.headers["Range"] == "0-299"


PUSH_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from pyoci_flask.registry import create_registry
from tests.unit.registry.client import digest_of, in_process, manifest

storage = Path(sys.argv[1])
client = in_process(create_registry(storage))
client.push_image("a", "1.0", b"small")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
large = b"x" * 300_000

location = client.begin_upload("a")
print(client.request("PUT", f"{location}?digest={digest_of(large)}", large).status_code)
location = client.begin_upload("a")
print(client.request("PATCH", location, large).status_code)
path = f"/v2/a/blobs/uploads/?digest={digest_of(large)}"
print(client.request("POST", path, large).status_code)
print(client.put_manifest("a", "2.0", manifest().ljust(300_000)).status_code)
print(client.tags("a"), [path.name for path in (storage / ".uploads").iterdir()])
"""


def test_without_room_nothing_half_written_is_left(storage: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PUSH_WITHOUT_ROOM, str(storage)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )

    assert done.stdout.split("\n") == ["507", "507", "507", "507", "['1.0'] []", ""]
    assert "no room in the storage" in done.stderr
    survivor = in_process(create_registry(storage))
    assert survivor.get("/v2/a/manifests/1.0").status_code == 200
    assert len(list((storage / "a" / "blobs" / "sha256").iterdir())) == 3


def test_a_fault_of_the_file_system_is_logged_and_not_shown(
    registry: RegistryClient, storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.push_manifest("a", index(), "1.0")
    (storage / "a" / ".lock").unlink()
    (storage / "a" / ".lock").mkdir()

    response = registry.put_manifest("a", "1.0", index(), INDEX)

    assert error(response) == (500, "UNKNOWN")
    assert str(storage) not in response.text
    assert "the registry's storage failed: Is a directory" in response.text
    [record] = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == (
        f"PUT /v2/a/manifests/1.0 failed: [Errno 21] Is a directory: '{storage / 'a' / '.lock'}'"
    )


def test_a_storage_that_is_read_only_says_so(
    registry: RegistryClient,
    storage: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = os.open

    def read_only(path: str, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr("os.open", read_only)

    response = registry.request("POST", "/v2/a/blobs/uploads/")

    assert error(response) == (500, "UNKNOWN")
    assert "the registry's storage failed: Read-only file system" in response.text
    assert str(storage) not in response.text
    [record] = caplog.records
    assert record.exc_info is None
    assert f"Read-only file system: '{storage}/.uploads/" in record.getMessage()


def test_what_nobody_foresaw_keeps_its_traceback(
    registry: RegistryClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pyoci_flask.registry.storage.Storage.check", fail)

    assert error(registry.get("/v2/a/tags/list")) == (500, "UNKNOWN")
    assert "GET /v2/a/tags/list failed\nTraceback" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_storage_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        create_registry(tmp_path / "file" / "storage")
