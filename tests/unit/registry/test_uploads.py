import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci_flask.registry import create_registry
from tests.unit.registry.client import (
    RegistryClient,
    Streamed,
    digest_of,
    error,
    in_process,
    over_wsgi,
)

CONTENT = b"0123456789" * 100
DIGEST = digest_of(CONTENT)
BLOB = f"/v2/acme/app/blobs/{DIGEST}"
UPLOADS = "/v2/acme/app/blobs/uploads/"


class BrokenBody(Streamed):
    """A body that announces more bytes than it has."""

    def __init__(self, content: bytes, announced: int) -> None:
        super().__init__([content])
        self._announced = announced

    def __len__(self) -> int:
        return self._announced


def uploads_in(storage: Path) -> list[Path]:
    return list((storage / ".uploads").iterdir())


def test_an_upload_begins_with_a_location_to_push_to(registry: RegistryClient) -> None:
    response = registry.request("POST", UPLOADS)

    assert response.status_code == 202
    assert re.fullmatch(UPLOADS + r"[0-9a-f-]{36}", response.headers["Location"])
    assert response.headers["Range"] == "0-0"
    assert response.headers["Content-Length"] == "0"


def test_post_then_put_makes_a_blob(registry: RegistryClient, storage: Path) -> None:
    location = registry.begin_upload("acme/app")

    response = registry.request("PUT", f"{location}?digest={DIGEST}", CONTENT)

    assert (response.status_code, response.headers["Location"]) == (201, BLOB)
    assert response.headers["Docker-Content-Digest"] == DIGEST
    assert registry.get(BLOB).content == CONTENT
    assert uploads_in(storage) == []


def test_a_single_post_makes_a_blob(registry: RegistryClient, storage: Path) -> None:
    response = registry.request("POST", f"{UPLOADS}?digest={DIGEST}", CONTENT)

    assert (response.status_code, response.headers["Location"]) == (201, BLOB)
    assert registry.get(BLOB).content == CONTENT
    assert uploads_in(storage) == []


def test_chunks_make_a_blob(registry: RegistryClient) -> None:
    location = registry.begin_upload("acme/app")

    first = registry.request("PATCH", location, CONTENT[:400], {"Content-Range": "0-399"})
    second = registry.request("PATCH", location, CONTENT[400:700], {"Content-Range": "400-699"})
    last = registry.request(
        "PUT", f"{location}?digest={DIGEST}", CONTENT[700:], {"Content-Range": "700-999"}
    )

    assert (first.status_code, first.headers["Range"]) == (202, "0-399")
    assert (second.status_code, second.headers["Range"]) == (202, "0-699")
    assert second.headers["Location"] == location
    assert last.status_code == 201
    assert registry.get(BLOB).content == CONTENT


def test_an_upload_streamed_without_a_length_makes_a_blob(registry: RegistryClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield CONTENT[:1]
        yield CONTENT[1:]

    location = registry.begin_upload("acme/app")

    patched = registry.request("PATCH", location, Streamed(chunks()))
    finished = registry.request("PUT", f"{location}?digest={DIGEST}")

    assert (patched.status_code, patched.headers["Range"]) == (202, "0-999")
    assert finished.status_code == 201
    assert registry.get(BLOB).content == CONTENT


def test_another_worker_goes_on_with_an_upload(registry: RegistryClient, storage: Path) -> None:
    location = registry.begin_upload("acme/app")
    registry.request("PATCH", location, CONTENT[:400])

    other = in_process(create_registry(storage))
    status = other.get(location)
    finished = other.request("PUT", f"{location}?digest={DIGEST}", CONTENT[400:])

    assert (status.status_code, status.headers["Range"]) == (204, "0-399")
    assert status.headers["Location"] == location
    assert finished.status_code == 201


@pytest.mark.parametrize("content_range", ["0-9", "11-20", "999-1008"])
def test_a_chunk_out_of_order_is_refused_and_the_upload_goes_on(
    registry: RegistryClient, content_range: str
) -> None:
    location = registry.begin_upload("acme/app")
    registry.request("PATCH", location, CONTENT[:10], {"Content-Range": "0-9"})

    refused = registry.request("PATCH", location, CONTENT[:10], {"Content-Range": content_range})

    assert error(refused) == (416, "BLOB_UPLOAD_INVALID")
    assert (refused.headers["Location"], refused.headers["Range"]) == (location, "0-9")
    assert registry.request("PATCH", location, CONTENT[10:]).headers["Range"] == "0-999"


@pytest.mark.parametrize("content_range", ["0-98", "0-100", "9-0", "nonsense", "bytes"])
def test_a_chunk_of_another_length_than_its_range_is_refused(
    registry: RegistryClient, content_range: str
) -> None:
    location = registry.begin_upload("acme/app")

    response = registry.request("PATCH", location, CONTENT[:100], {"Content-Range": content_range})

    assert error(response)[0] in {400, 416}
    assert registry.get(location).headers["Range"] == "0-0"


def test_content_of_another_digest_is_refused_and_dropped(
    registry: RegistryClient, storage: Path
) -> None:
    location = registry.begin_upload("acme/app")

    response = registry.request("PUT", f"{location}?digest={DIGEST}", CONTENT[1:])

    assert error(response) == (400, "DIGEST_INVALID")
    assert registry.get(BLOB).status_code == 404
    assert uploads_in(storage) == []
    assert registry.get("/v2/acme/app/tags/list").status_code == 404


@pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:12", "?digest=md5:" + "a" * 32])
def test_an_upload_ends_only_with_a_digest(registry: RegistryClient, query: str) -> None:
    location = registry.begin_upload("acme/app")

    assert error(registry.request("PUT", location + query, CONTENT)) == (400, "DIGEST_INVALID")


def test_a_body_that_ends_early_is_kept_to_go_on_with(registry: RegistryClient) -> None:
    location = registry.begin_upload("acme/app")

    broken = registry.request(
        "PUT", f"{location}?digest={DIGEST}", BrokenBody(CONTENT[:300], announced=1000)
    )

    assert error(broken) == (400, "SIZE_INVALID")
    assert registry.get(location).headers["Range"] == "0-299"
    rest = registry.request("PUT", f"{location}?digest={DIGEST}", CONTENT[300:])
    assert rest.status_code == 201
    assert registry.get(BLOB).content == CONTENT


def test_a_single_post_that_ends_early_leaves_nothing(
    registry: RegistryClient, storage: Path
) -> None:
    broken = registry.request(
        "POST", f"{UPLOADS}?digest={DIGEST}", BrokenBody(CONTENT[:300], announced=1000)
    )

    assert error(broken) == (400, "SIZE_INVALID")
    assert uploads_in(storage) == []


def test_a_cancelled_upload_is_unknown(registry: RegistryClient, storage: Path) -> None:
    location = registry.begin_upload("acme/app")

    assert registry.request("DELETE", location).status_code == 204

    assert error(registry.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert error(registry.request("PATCH", location, b"x")) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert error(registry.request("DELETE", location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert uploads_in(storage) == []


def test_an_upload_belongs_to_its_repository(registry: RegistryClient) -> None:
    location = registry.begin_upload("acme/app").replace("/acme/app/", "/acme/other/")

    response = registry.request("PUT", f"{location}?digest={DIGEST}", CONTENT)

    assert error(response) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_two_requests_do_not_write_to_one_upload(registry: RegistryClient, storage: Path) -> None:
    location = registry.begin_upload("acme/app")
    answers: list[tuple[int, str]] = []

    def body() -> Iterator[bytes]:
        yield CONTENT[:500]
        # The first request holds the upload now: it is in the middle of its body.
        other = in_process(create_registry(storage))
        answers.append(error(other.request("PATCH", location, b"x")))
        yield CONTENT[500:]

    finished = registry.request("PUT", f"{location}?digest={DIGEST}", Streamed(body()))

    assert answers == [(409, "BLOB_UPLOAD_INVALID")]
    assert finished.status_code == 201
    assert registry.get(BLOB).content == CONTENT


def test_an_upload_cancelled_while_it_arrives_makes_no_blob(registry: RegistryClient) -> None:
    location = registry.begin_upload("acme/app")

    def body() -> Iterator[bytes]:
        yield CONTENT[:500]
        assert registry.request("DELETE", location).status_code == 204
        yield CONTENT[500:]

    response = registry.request("PUT", f"{location}?digest={DIGEST}", Streamed(body()))

    assert error(response) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert registry.get(BLOB).status_code == 404


def test_an_upload_without_content_makes_the_empty_blob(registry: RegistryClient) -> None:
    digest = registry.push_blob("acme/app", b"")

    response = registry.get(f"/v2/acme/app/blobs/{digest}")

    assert (response.status_code, response.content) == (200, b"")


def test_a_blob_is_mounted_from_another_repository(registry: RegistryClient) -> None:
    registry.push_blob("acme/app", CONTENT)

    response = registry.request(
        "POST", f"/v2/acme/other/blobs/uploads/?mount={DIGEST}&from=acme/app"
    )

    assert response.status_code == 201
    assert response.headers["Location"] == f"/v2/acme/other/blobs/{DIGEST}"
    registry.request("DELETE", BLOB)
    assert registry.get(f"/v2/acme/other/blobs/{DIGEST}").content == CONTENT


def test_a_blob_is_mounted_where_it_is_already(registry: RegistryClient) -> None:
    registry.push_blob("acme/app", CONTENT)

    response = registry.request("POST", f"{UPLOADS}?mount={DIGEST}&from=acme/app")

    assert response.status_code == 201


@pytest.mark.parametrize(
    "source", ["", "&from=", "&from=acme/missing", "&from=../../etc", "&from=acme/other"]
)
def test_a_blob_that_cannot_be_mounted_is_to_be_uploaded(
    registry: RegistryClient, source: str
) -> None:
    registry.push_blob("acme/other", b"another blob")

    response = registry.request("POST", f"{UPLOADS}?mount={DIGEST}{source}")

    assert response.status_code == 202
    location = response.headers["Location"]
    assert registry.request("PUT", f"{location}?digest={DIGEST}", CONTENT).status_code == 201


def test_a_mount_that_fails_makes_no_repository(
    registry: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "this file system does not link")

    registry.push_blob("acme/app", CONTENT)
    monkeypatch.setattr("os.link", no_links)

    response = registry.request(
        "POST", f"/v2/acme/other/blobs/uploads/?mount={DIGEST}&from=acme/app"
    )

    assert response.status_code == 202
    assert registry.get("/v2/_catalog").json() == {"repositories": ["acme/app"]}
    assert registry.get("/v2/acme/other/tags/list").status_code == 404


def test_a_mount_needs_a_digest(registry: RegistryClient) -> None:
    response = registry.request("POST", f"{UPLOADS}?mount=latest&from=acme/other")

    assert error(response) == (400, "DIGEST_INVALID")


def test_uploads_untouched_for_a_day_are_swept(storage: Path) -> None:
    first = in_process(create_registry(storage))
    abandoned, current = first.begin_upload("acme/app"), first.begin_upload("acme/app")
    (stale,) = (storage / ".uploads").glob(abandoned.rpartition("/")[2] + "*")
    yesterday = time.time() - 25 * 60 * 60
    os.utime(stale, (yesterday, yesterday))

    restarted = in_process(create_registry(storage))
    restarted.begin_upload("acme/app")

    assert restarted.get(abandoned).status_code == 404
    assert restarted.get(current).status_code == 204


def test_the_location_carries_the_path_that_the_registry_is_mounted_at(storage: Path) -> None:
    app = create_registry(storage)

    def mounted(environ, start_response):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        environ["SCRIPT_NAME"] = "/sub"
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/sub")
        return app(environ, start_response)

    client = over_wsgi(mounted)
    begun = client.request("POST", "/sub/v2/acme/app/blobs/uploads/")
    location = begun.headers["Location"]
    finished = client.request("PUT", f"{location}?digest={DIGEST}", CONTENT)

    assert location.startswith("/sub/v2/acme/app/blobs/uploads/")
    assert finished.headers["Location"] == f"/sub{BLOB}"
