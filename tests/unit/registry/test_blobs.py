import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from pyoci_flask.common.outlet import OUTLET
from pyoci_flask.registry import create_registry
from pyoci_flask.registry.blobs import BlobBody
from pyoci_flask.registry.files import open_file
from tests.doubles import wsgi_server
from tests.unit.registry.client import RegistryClient, digest_of, error, in_process, over_socket
from tests.wsgi_caller import WSGIAnswer, close

CONTENT = bytes(range(256)) * 4
DIGEST = digest_of(CONTENT)
ADDRESS = f"/v2/acme/app/blobs/{DIGEST}"


@pytest.fixture
def pushed(registry: RegistryClient) -> RegistryClient:
    registry.push_blob("acme/app", CONTENT)
    return registry


def test_a_blob_comes_back_with_its_digest_and_length(pushed: RegistryClient) -> None:
    response = pushed.get(ADDRESS)

    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["Docker-Content-Digest"] == DIGEST
    assert response.headers["ETag"] == f'"{DIGEST}"'
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Accept-Ranges"] == "bytes"


def test_head_tells_the_same_without_the_bytes(pushed: RegistryClient) -> None:
    response = pushed.request("HEAD", ADDRESS)

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Docker-Content-Digest"] == DIGEST


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=10-19", (10, 19)),
        ("bytes=1000-", (1000, 1023)),
        ("bytes=1000-99999", (1000, 1023)),
        ("bytes=-24", (1000, 1023)),
        ("bytes=-99999", (0, 1023)),
    ],
)
def test_a_range_is_answered_with_206(
    pushed: RegistryClient, wanted: str, expected: tuple[int, int]
) -> None:
    first, last = expected

    response = pushed.get(ADDRESS, Range=wanted)

    assert (response.status_code, response.content) == (206, CONTENT[first : last + 1])
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/1024"
    assert response.headers["Content-Length"] == str(last - first + 1)


def test_a_range_means_nothing_to_head(pushed: RegistryClient) -> None:
    response = pushed.request("HEAD", ADDRESS, headers={"Range": "bytes=10-19"})

    assert response.status_code == 200
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert "Content-Range" not in response.headers


@pytest.mark.parametrize("wanted", ["bytes=1024-", "bytes=-0"])
def test_a_range_beyond_the_end_is_answered_with_416(pushed: RegistryClient, wanted: str) -> None:
    response = pushed.get(ADDRESS, Range=wanted)

    assert error(response)[0] == 416
    assert response.headers["Content-Range"] == "bytes */1024"


@pytest.mark.parametrize("wanted", ["bytes=1-2,4-5", "lines=1-2", "bytes=x", "bytes=5-2"])
def test_a_range_that_cannot_be_served_is_ignored(pushed: RegistryClient, wanted: str) -> None:
    response = pushed.get(ADDRESS, Range=wanted)

    assert (response.status_code, response.content) == (200, CONTENT)


@pytest.mark.parametrize("condition", ['"sha256:other"', f'W/"{DIGEST}"'])
def test_if_range_of_another_blob_gets_the_whole(pushed: RegistryClient, condition: str) -> None:
    same = pushed.get(ADDRESS, Range="bytes=0-9", If_Range=f'"{DIGEST}"')
    other = pushed.get(ADDRESS, Range="bytes=0-9", If_Range=condition)

    assert (same.status_code, len(same.content)) == (206, 10)
    assert (other.status_code, len(other.content)) == (200, 1024)


@pytest.mark.parametrize("weak", ["", "W/"])
def test_a_blob_or_manifest_that_the_client_has_is_not_sent_again(
    pushed: RegistryClient, weak: str
) -> None:
    manifest = digest_of(pushed.push_image("acme/app", "1.0", CONTENT))

    for address, digest in ((ADDRESS, DIGEST), ("/v2/acme/app/manifests/1.0", manifest)):
        response = pushed.get(address, If_None_Match=f'{weak}"{digest}"')

        assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("name", ["acme/app", "acme/missing"])
def test_a_missing_blob_is_unknown(pushed: RegistryClient, method: str, name: str) -> None:
    response = pushed.request(method, f"/v2/{name}/blobs/{digest_of(b'missing')}")

    assert response.status_code == 404
    if method != "HEAD":
        assert error(response) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("digest", ["sha256:abc", "sha384:" + "a" * 96, "latest", DIGEST.upper()])
def test_what_is_no_digest_is_refused(pushed: RegistryClient, digest: str) -> None:
    assert error(pushed.get(f"/v2/acme/app/blobs/{digest}")) == (400, "DIGEST_INVALID")


def test_a_deleted_blob_is_gone(pushed: RegistryClient) -> None:
    assert pushed.request("DELETE", ADDRESS).status_code == 202

    assert error(pushed.get(ADDRESS)) == (404, "BLOB_UNKNOWN")


def test_a_manifest_is_not_deleted_as_a_blob(registry: RegistryClient) -> None:
    image = digest_of(registry.push_image("acme/app", "1.0", CONTENT))

    response = registry.request("DELETE", f"/v2/acme/app/blobs/{image}")

    assert error(response) == (405, "UNSUPPORTED")
    assert registry.get("/v2/acme/app/manifests/1.0").status_code == 200


def test_a_blob_of_another_repository_is_not_served(pushed: RegistryClient) -> None:
    pushed.push_blob("acme/other", b"something else")

    assert error(pushed.get(f"/v2/acme/other/blobs/{DIGEST}")) == (404, "BLOB_UNKNOWN")


def test_blobs_travel_over_a_socket(storage: Path) -> None:
    content = CONTENT * 3000  # several chunks

    with wsgi_server(create_registry(storage)) as origin:
        client = over_socket(origin)
        digest = client.push_blob("acme/app", content)
        whole = client.get(f"/v2/acme/app/blobs/{digest}")
        part = client.get(f"/v2/acme/app/blobs/{digest}", Range="bytes=500000-")
        client.session.close()

    assert whole.content == content
    assert part.content == content[500000:]


@given(content=st.binary(max_size=2000), cut=st.integers(0, 2000))
@settings(max_examples=30, deadline=None)
def test_any_content_comes_back_whole_however_it_was_pushed(
    content: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client = in_process(create_registry(tmp_path_factory.mktemp("storage")))
    digest = digest_of(content)

    location = client.begin_upload("a")
    client.request("PATCH", location, content[:cut])
    finished = client.request("PUT", f"{location}?digest={digest}", content[cut:])

    assert finished.status_code == 201
    assert client.get(f"/v2/a/blobs/{digest}").content == content


class Outlet:
    """Takes the bytes of a file, at most `most` at a time."""

    def __init__(self, most: int) -> None:
        self.sent = 0
        self.taken = b""
        self._most = most

    def send(self, data: object) -> None:
        raise AssertionError(data)

    def send_pipe(self, pipe: int, count: int) -> None:
        raise AssertionError(pipe, count)

    def send_file(self, file: int, offset: int, count: int) -> int:
        data = os.pread(file, min(count, self._most), offset)
        self.taken += data
        return len(data)


@pytest.mark.parametrize(
    ("sent", "stop", "status"),
    [(None, 1024, "200 OK"), ("bytes=0-299", 300, "206 PARTIAL CONTENT")],
)
def test_a_server_with_an_outlet_gets_no_bytes_but_the_file(
    storage: Path, sent: str | None, stop: int, status: str
) -> None:
    app = create_registry(storage)
    in_process(app).push_blob("acme/app", CONTENT)
    outlet, answer = Outlet(most=250), WSGIAnswer()
    environ = EnvironBuilder(ADDRESS, headers={"Range": sent} if sent else {}).get_environ()

    body = app({**environ, OUTLET: outlet}, answer.start_response)

    assert set(body) == {b""}
    close(body)
    assert outlet.taken == CONTENT[:stop]
    assert answer.statuses == [status]
    assert dict(answer.headers)["Content-Length"] == str(stop)


def test_an_outlet_whose_file_ends_early_breaks_the_response(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT)
    file = open_file(path)

    with pytest.raises(OSError, match="shorter"):
        list(BlobBody(file, 0, len(CONTENT) + 1, Outlet(most=len(CONTENT))))

    assert file.closed


def test_a_file_that_cannot_be_read_to_its_end_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT)
    file = open_file(path)

    with pytest.raises(OSError, match="shorter"):
        list(BlobBody(file, 0, len(CONTENT) + 1))

    assert file.closed
