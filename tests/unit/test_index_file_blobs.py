"""The blobs of deleted files are deleted only where it is known that nothing names them."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from werkzeug.wrappers import Request, Response

from pyoci_flask.errors import BusyError
from pyoci_flask.index import file_blobs
from pyoci_flask.index.delete import delete_version
from pyoci_flask.index.file_blobs import DeletedBlobs, FileBlobs
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.project_repository import hold_blobs
from pyoci_flask.index.publish import publish
from pyoci_flask.oci.model import INDEX_TYPE, MANIFEST_TYPE
from pyoci_flask.oci.reference import Digest
from pyoci_flask.registry import create_registry
from tests.patience import PATIENCE
from tests.unit.conftest import Callers
from tests.unit.index_doubles import (
    Fault,
    FaultyRegistry,
    Store,
    make_store,
    make_upload,
    refusing,
)

METADATA = b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"
SDIST = "hello-1.0.tar.gz"


@pytest.fixture
def store(caller_of: Callers, tmp_path: Path, locks: VersionLocks) -> Store:
    """Versions 1.0 and 2.0, each with one sdist and core metadata of its own."""
    made = make_store(caller_of, create_registry(tmp_path / "storage"))
    publish(made.repository, make_upload(SDIST, b"one", metadata=METADATA), locks)
    publish(made.repository, make_upload("hello-2.0.tar.gz", b"two", metadata=b"2"), locks)
    made.registry.calls.clear()
    return made


def delete(store: Store, locks: VersionLocks) -> DeletedBlobs:
    """Delete version 1.0 with its blobs."""
    blobs = FileBlobs(every=True)
    with hold_blobs(store.repository, locks, shared=False):
        assert delete_version([store.repository], "1.0", locks, blobs=blobs) is True
        return blobs.delete()


def holds_blob(store: Store, content: bytes) -> bool:
    name = store.repository.caller.repository.name
    path = f"/v2/{name}/blobs/{Digest.of(content)}"
    return store.registry.ask("HEAD", path).status_code == 200


def deleted_blobs(store: Store) -> list[tuple[str, str]]:
    return [call for call in store.registry.changes if "/blobs/" in call[1]]


def showing(tag: str, document: object, media_type: str) -> Fault:
    """Show `document` under a tag."""

    def fault(_: FaultyRegistry, request: Request) -> Response | None:
        if request.method != "GET" or not request.path.endswith(f"/manifests/{tag}"):
            return None
        return Response(json.dumps(document), content_type=media_type)

    return fault


def test_manifests_are_not_read_if_entries_have_both_digests(
    store: Store, locks: VersionLocks
) -> None:
    assert delete(store, locks) == DeletedBlobs(2, 2)
    assert not holds_blob(store, b"one")
    assert not holds_blob(store, METADATA)
    assert holds_blob(store, b"two")
    read = [path for method, path in store.registry.calls if method == "GET"]
    assert not [path for path in read if "/manifests/sha256:" in path]
    # What is to be deleted is known before, and deleted after the manifests.
    kinds = ["/blobs/" in path for method, path in store.registry.changes]
    assert kinds == sorted(kinds)


def test_manifests_are_read_for_entries_of_other_artifacts(
    store: Store, locks: VersionLocks
) -> None:
    document = store.registry.document(store.manifest("2.0"))
    del document["artifactType"]
    store.registry.faults.append(showing("2.0", document, INDEX_TYPE))
    assert delete(store, locks) == DeletedBlobs(2, 2)
    (entry,) = document["manifests"]
    assert ("GET", store.manifest(entry["digest"])) in store.registry.calls


@pytest.mark.parametrize("part", ["/manifests/2.0", "/tags/list"])
@pytest.mark.parametrize("status", [403, 404, 429, 500])
def test_no_blob_is_deleted_where_a_tag_or_the_list_of_tags_cannot_be_read(
    store: Store, locks: VersionLocks, part: str, status: int
) -> None:
    blobs = FileBlobs(every=True)
    assert delete_version([store.repository], "1.0", locks, blobs=blobs) is True
    # 404 without the error code of a registry is that of a proxy.
    store.registry.faults.append(refusing({"GET"}, part, status, "DENIED"))
    done = blobs.delete()
    assert (done.found, done.deleted, bool(done.fault)) == (2, 0, True)
    assert holds_blob(store, b"one")


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        (
            {"schemaVersion": 1, "fsLayers": []},
            "application/vnd.docker.distribution.manifest.v1+json",
        ),
        ({"schemaVersion": 2, "mediaType": "application/vnd.example+json"}, INDEX_TYPE),
        ({"schemaVersion": 2}, INDEX_TYPE),
        ({"schemaVersion": 2, "layers": []}, MANIFEST_TYPE),
        ({"schemaVersion": 2, "manifests": [], "layers": []}, INDEX_TYPE),
        ({"schemaVersion": 2, "manifests": [{"digest": "sha512:0"}]}, INDEX_TYPE),
        (
            {
                "schemaVersion": 2,
                "manifests": [
                    {
                        "mediaType": "application/vnd.example+json",
                        "digest": f"sha256:{0:064}",
                        "size": 1,
                    }
                ],
            },
            INDEX_TYPE,
        ),
    ],
)
def test_no_blob_is_deleted_where_it_is_not_known_what_a_document_names(
    store: Store, locks: VersionLocks, document: object, media_type: str
) -> None:
    store.registry.faults.append(showing("2.0", document, media_type))
    done = delete(store, locks)
    assert (done.found, done.deleted) == (2, 0)
    assert "2.0 in embedded/python/hello is malformed" in str(done.fault)
    assert deleted_blobs(store) == []


def test_no_blob_is_deleted_where_tags_lead_to_too_much(
    store: Store, locks: VersionLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store.repository, make_upload("hello-3.0.tar.gz", b"3"), locks)  # tells one digest
    monkeypatch.setattr(file_blobs, "_MOST_READS", 2)
    done = delete(store, locks)
    assert done.deleted == 0
    assert "more than 2 manifests" in str(done.fault)


def test_no_blob_is_deleted_where_the_list_of_tags_does_not_end(
    store: Store, locks: VersionLocks
) -> None:
    def endless(_: FaultyRegistry, request: Request) -> Response | None:
        if not request.path.endswith("/tags/list"):
            return None
        body = json.dumps({"name": "python/hello", "tags": ["1.0"]})
        return Response(body, headers={"Link": '<?last=1.0>; rel="next"'})

    store.registry.faults.append(endless)
    done = delete(store, locks)
    assert (done.deleted, "does not end" in str(done.fault)) == (0, True)


@pytest.mark.parametrize("status", [404, 405])
def test_a_registry_that_deletes_no_blobs_is_named_as_such(
    store: Store, locks: VersionLocks, status: int
) -> None:
    store.registry.faults.append(refusing({"DELETE"}, "/blobs/", status, "UNSUPPORTED"))
    assert delete(store, locks) == DeletedBlobs(2, 0, fault="this registry does not delete blobs")
    assert store.names("1.0") is None


def test_a_failure_after_the_first_blob_reports_how_many_were_deleted(
    store: Store, locks: VersionLocks
) -> None:
    last = max(Digest.of(b"one"), Digest.of(METADATA))
    store.registry.faults.append(refusing({"DELETE"}, f"/blobs/{last}", 403, "DENIED"))
    done = delete(store, locks)
    assert (done.found, done.deleted, done.kept) == (2, 1, 0)
    assert "DENIED" in str(done.fault)


def test_an_upload_under_way_keeps_the_deletion_of_blobs_waiting(
    store: Store, locks: VersionLocks
) -> None:
    """It has found the bytes by HEAD, and its tag is not written yet."""
    looked, go_on = threading.Event(), threading.Event()

    def pausing(_: FaultyRegistry, request: Request) -> None:
        if request.method == "PUT" and request.path.endswith("/manifests/3.0"):
            looked.set()
            assert go_on.wait(PATIENCE)

    def upload() -> None:
        same = make_upload("hello-3.0.tar.gz", b"one", metadata=METADATA)
        with hold_blobs(store.repository, locks, shared=True):
            publish(store.repository, same, locks)

    store.registry.faults.append(pausing)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(upload)
        try:
            assert looked.wait(PATIENCE)
            with pytest.raises(BusyError, match="uploads to this repository"):
                delete(store, locks)
            assert store.names("1.0") == [SDIST]
        finally:
            go_on.set()
        future.result(PATIENCE)
    assert delete(store, locks) == DeletedBlobs(2, 0, 2)
    assert holds_blob(store, b"one")


def test_uploads_run_in_parallel_and_wait_for_a_deletion_of_blobs(
    store: Store, locks: VersionLocks
) -> None:
    with (
        hold_blobs(store.repository, locks, shared=True),
        hold_blobs(store.repository, locks, shared=True),
    ):
        pass
    with (
        hold_blobs(store.repository, locks, shared=False),
        pytest.raises(BusyError, match="blobs of this repository are being deleted"),
        hold_blobs(store.repository, locks, shared=True),
    ):
        pytest.fail("it was held")


def test_no_blob_is_deleted_where_an_index_names_a_manifest_that_is_missing(
    store: Store, locks: VersionLocks
) -> None:
    entry = {"mediaType": MANIFEST_TYPE, "digest": f"sha256:{0:064}", "size": 1}
    store.registry.faults.append(
        showing("2.0", {"schemaVersion": 2, "manifests": [entry]}, INDEX_TYPE)
    )
    done = delete(store, locks)
    assert (done.deleted, "is missing the manifest" in str(done.fault)) == (0, True)


def test_a_subject_is_read_and_may_be_missing(store: Store) -> None:
    (there,) = store.registry.document(store.manifest("1.0"))["manifests"]
    missing = {"mediaType": MANIFEST_TYPE, "digest": f"sha256:{0:064}", "size": 1}
    blobs = {Digest.of(b"one")}
    for subject, named in ((there, blobs), (missing, set())):
        document: dict[str, object] = {"schemaVersion": 2, "manifests": [], "subject": subject}
        store.registry.faults[:] = [showing("1.0", document, INDEX_TYPE)]
        limit = time.monotonic() + PATIENCE
        assert file_blobs.referenced(store.repository.caller, blobs, limit) == named


def test_no_blob_is_deleted_where_those_of_the_file_cannot_be_read(
    store: Store, locks: VersionLocks
) -> None:
    publish(store.repository, make_upload("hello-1.0-py3-none-any.whl", b"3"), locks)
    store.registry.calls.clear()
    store.registry.faults.append(refusing({"GET"}, "/manifests/sha256:", 500, "UNKNOWN"))
    done = delete(store, locks)
    assert (done.found, done.deleted, "UNKNOWN" in str(done.fault)) == (None, 0, True)
    assert store.names("1.0") is None
    assert deleted_blobs(store) == []
