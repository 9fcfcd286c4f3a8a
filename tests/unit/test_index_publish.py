import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from werkzeug.wrappers import Request, Response

from pyoci_flask.errors import (
    AlreadyExistsError,
    AuthenticationRequiredError,
    BusyError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
    PyOCIError,
    RegistryError,
)
from pyoci_flask.index.artifact import KnownConfigs, Upload
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.project import CHANGED, CREATED
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
    overwriting,
    refusing,
    seeing_late,
)

SDIST = "hello-1.0.tar.gz"
WHEEL = "hello-1.0-py3-none-any.whl"
OTHER = "hello-1.0-cp311-cp311-win32.whl"


@pytest.fixture
def store(caller_of: Callers, tmp_path: Path) -> Store:
    return make_store(caller_of, create_registry(tmp_path / "storage"))


@pytest.fixture
def locks(tmp_path: Path) -> VersionLocks:
    return VersionLocks(tmp_path / "locks", deadline=PATIENCE)


def others_index(store: Store, locks: VersionLocks) -> bytes:
    """The index that another writer makes who does not see ours; the tag is gone again."""
    publish(store.repository, make_upload(OTHER), locks)
    document = store.registry.ask("GET", store.manifest("1.0")).get_data()
    assert store.registry.ask("DELETE", store.manifest("1.0")).status_code == 202
    return document


def test_documents_are_stored_in_the_documented_format(store: Store, locks: VersionLocks) -> None:
    upload = make_upload(
        WHEEL,
        b"content",
        metadata=b"Metadata-Version: 2.1\n",
        requires_python=">=3.9",
        project_urls={"Home": "https://example.com/ä"},
        labels={"org.acme": "x", "y": "z"},
    )
    publish(store.repository, upload, locks)
    index = store.registry.document(store.manifest("1.0"))
    (entry,) = index.pop("manifests")
    assert index.pop("annotations").keys() == {"org.opencontainers.image.created"}
    assert index == {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "artifactType": "application/pyoci.package.v1",
    }
    manifest = store.registry.document(store.manifest(entry["digest"]))
    created = manifest["annotations"].pop("org.opencontainers.image.created")
    assert created.endswith("Z")
    assert entry == {
        "mediaType": MANIFEST_TYPE,
        "digest": entry["digest"],
        "size": entry["size"],
        "platform": {"architecture": "py3-none-any.whl", "os": "any"},
        "annotations": {
            "org.opencontainers.image.created": created,
            "com.pyoci.sha256_digest": Digest.of(b"content").hex,
            "com.pyoci.project_urls": json.dumps(
                {"Home": "https://example.com/ä"}, ensure_ascii=False
            ),
            "org.opencontainers.image.title": WHEEL,
            "com.pyoci.size": "7",
            "com.pyoci.requires_python": ">=3.9",
            "com.pyoci.core_metadata_sha256": Digest.of(b"Metadata-Version: 2.1\n").hex,
        },
    }
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": "application/pyoci.package.v1",
        "config": {
            "mediaType": "application/pyoci.core-metadata.v1",
            "digest": str(Digest.of(b"Metadata-Version: 2.1\n")),
            "size": 22,
        },
        "layers": [
            {
                "mediaType": "application/pyoci.package.v1",
                "digest": str(Digest.of(b"content")),
                "size": 7,
                "annotations": {"org.opencontainers.image.title": WHEEL},
            }
        ],
        "annotations": {"org.acme": "x", "y": "z"},
    }
    blob = store.registry.ask("GET", f"/v2/python/hello/blobs/{Digest.of(b'content')}")
    assert blob.get_data() == b"content"


def test_file_without_metadata_has_the_empty_config(store: Store, locks: VersionLocks) -> None:
    publish(store.repository, make_upload(SDIST), locks)
    (entry,) = store.registry.document(store.manifest("1.0"))["manifests"]
    assert sorted(name.rpartition(".")[2] for name in entry["annotations"]) == [
        "created",
        "project_urls",
        "sha256_digest",
        "size",
        "title",
    ]
    config = store.registry.document(store.manifest(entry["digest"]))["config"]
    assert config["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert store.registry.ask("GET", f"/v2/python/hello/blobs/{config['digest']}").data == b"{}"


def test_second_file_joins_the_version_and_keeps_what_others_wrote(
    store: Store, locks: VersionLocks
) -> None:
    publish(store.repository, make_upload(SDIST), locks)
    document = store.registry.document(store.manifest("1.0"))
    document["manifests"][0]["annotations"]["foreign"] = "note"
    document["foreign"] = {"a": [1]}
    body = json.dumps(document).encode()
    assert store.registry.ask("PUT", store.manifest("1.0"), body, INDEX_TYPE).status_code == 201
    publish(store.repository, make_upload(WHEEL), locks)
    after = store.registry.document(store.manifest("1.0"))
    assert after["manifests"][0] == document["manifests"][0]
    assert after["foreign"] == {"a": [1]}
    assert after["annotations"].pop(CHANGED) > document["annotations"][CREATED]
    assert after["annotations"] == document["annotations"]
    assert store.names("1.0") == [WHEEL, SDIST]


def test_existing_file_is_refused_before_anything_is_pushed(
    store: Store, locks: VersionLocks
) -> None:
    publish(store.repository, make_upload(SDIST), locks)
    before = len(store.registry.changes)
    for content in (None, b"other"):
        with pytest.raises(AlreadyExistsError, match=f"{SDIST} already exists in"):
            publish(store.repository, make_upload(SDIST, content), locks)
    assert len(store.registry.changes) == before


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}, INDEX_TYPE),
        (
            {
                "schemaVersion": 2,
                "mediaType": INDEX_TYPE,
                "artifactType": "application/other",
                "manifests": [],
            },
            INDEX_TYPE,
        ),
    ],
)
def test_tag_that_is_not_a_package_is_not_changed(
    store: Store, locks: VersionLocks, document: dict[str, object], media_type: str
) -> None:
    body = json.dumps(document).encode()
    assert store.registry.ask("PUT", store.manifest("1.0"), body, media_type).status_code == 201
    with pytest.raises(AlreadyExistsError, match=r"the tag 1\.0 of .* already exists and is"):
        publish(store.repository, make_upload(SDIST), locks)
    assert store.registry.ask("GET", store.manifest("1.0")).get_data() == body
    assert store.registry.changes == []


def test_tag_of_an_index_without_an_artifact_type_is_named_so(
    store: Store, locks: VersionLocks
) -> None:
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}).encode()
    assert store.registry.ask("PUT", store.manifest("1.0"), body, INDEX_TYPE).status_code == 201
    said = "already exists and is an image index without an artifactType, not a package"
    with pytest.raises(AlreadyExistsError, match=said):
        publish(store.repository, make_upload(SDIST), locks)


def test_stale_reads_after_the_write_are_waited_out_without_another_write(
    store: Store, locks: VersionLocks
) -> None:
    store.registry.faults.append(seeing_late("1.0", 1))
    publish(store.repository, make_upload(SDIST), locks)
    publish(store.repository, make_upload(WHEEL), locks)
    assert store.names("1.0") == [WHEEL, SDIST]
    puts = [call for call in store.registry.calls if call == ("PUT", store.manifest("1.0"))]
    assert len(puts) == 2


def test_index_that_another_writer_overwrote_is_repaired(store: Store, locks: VersionLocks) -> None:
    document = others_index(store, locks)
    store.registry.faults.append(overwriting("1.0", document, INDEX_TYPE, 3))
    publish(store.repository, make_upload(SDIST), locks)
    assert store.names("1.0") == [OTHER, SDIST]


def test_writer_that_never_stops_is_reported_as_busy(store: Store, locks: VersionLocks) -> None:
    document = others_index(store, locks)
    store.registry.faults.append(overwriting("1.0", document, INDEX_TYPE, 100))
    with pytest.raises(BusyError, match="try again"):
        publish(store.repository, make_upload(SDIST), locks)
    assert store.names("1.0") == [OTHER]
    puts = [call for call in store.registry.calls if call == ("PUT", store.manifest("1.0"))]
    assert len(puts) == 1 + 8


def test_same_file_of_another_writer_is_a_conflict(store: Store, locks: VersionLocks) -> None:
    publish(store.repository, make_upload(SDIST, b"theirs"), locks)
    document = store.registry.ask("GET", store.manifest("1.0")).get_data()
    store.registry.ask("DELETE", store.manifest("1.0"))
    store.registry.faults.append(overwriting("1.0", document, INDEX_TYPE, 1))
    with pytest.raises(AlreadyExistsError, match="already exists"):
        publish(store.repository, make_upload(SDIST, b"ours"), locks)
    assert [file.digest for file in store.files("1.0") or ()] == [Digest.of(b"theirs")]


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"])
@pytest.mark.parametrize("part", ["/manifests/sha256", "/manifests/1.0"])
def test_parts_that_the_registry_lost_are_pushed_again(
    store: Store, locks: VersionLocks, code: str, part: str
) -> None:
    store.registry.faults.append(refusing({"PUT"}, part, 400, code, times=1))
    publish(store.repository, make_upload(SDIST), locks)
    assert store.names("1.0") == [SDIST]


def losing(digest: Digest) -> Fault:
    """Lose a blob after its first upload, and still answer HEAD that it is there."""
    uploads: list[str] = []

    def fault(_: FaultyRegistry, request: Request) -> Response | None:
        if request.method == "PUT" and request.args.get("digest") == str(digest):
            uploads.append(request.path)
        if request.method == "PUT" and "/manifests/sha256" in request.path and len(uploads) < 2:
            request.get_data()
            body = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "gone"}]})
            return Response(body, 404, content_type="application/json")
        return None

    return fault


@pytest.mark.parametrize("content", [SDIST.encode(), b"{}"], ids=["file", "config"])
def test_a_blob_that_the_registry_misses_is_uploaded_although_it_says_that_it_is_there(
    store: Store, locks: VersionLocks, content: bytes
) -> None:
    store.registry.faults.append(losing(Digest.of(content)))
    publish(store.repository, make_upload(SDIST), locks)
    assert store.names("1.0") == [SDIST]


def test_registry_that_keeps_losing_parts_is_an_error(store: Store, locks: VersionLocks) -> None:
    store.registry.faults.append(refusing({"PUT"}, "/manifests/1.0", 400, "MANIFEST_BLOB_UNKNOWN"))
    with pytest.raises(RegistryError, match="is missing content"):
        publish(store.repository, make_upload(SDIST), locks)
    assert store.names("1.0") is None
    assert 2 <= store.registry.calls.count(("PUT", store.manifest("1.0"))) <= 3


@pytest.mark.parametrize(
    ("status", "code"), [(409, "CONFLICT"), (412, "PRECONDITION"), (400, "TAG_INVALID")]
)
def test_second_file_of_an_immutable_version_is_refused(
    store: Store, locks: VersionLocks, status: int, code: str
) -> None:
    publish(store.repository, make_upload(SDIST), locks)
    store.registry.faults.append(refusing({"PUT"}, "/manifests/1.0", status, code))
    with pytest.raises(AlreadyExistsError, match="immutable"):
        publish(store.repository, make_upload(WHEEL), locks)
    assert store.names("1.0") == [SDIST]


def test_file_that_is_not_stored_leaves_the_version_as_it_was(
    store: Store, locks: VersionLocks
) -> None:
    publish(store.repository, make_upload(SDIST), locks)
    store.registry.faults.append(refusing({"PUT"}, "/blobs/uploads/", 400, "SIZE_INVALID"))
    with pytest.raises(RegistryError, match="SIZE_INVALID"):
        publish(store.repository, make_upload(WHEEL), locks)
    assert store.names("1.0") == [SDIST]


def _never(_: Upload) -> Upload:
    pytest.fail("the file is opened although the caller may not write")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "UNAUTHORIZED", AuthenticationRequiredError),
        (403, "DENIED", DeniedError),
        (404, "NAME_UNKNOWN", NotFoundError),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_a_file_is_not_opened_where_the_registry_does_not_begin_the_upload(
    store: Store, locks: VersionLocks, status: int, code: str, kind: type[PyOCIError], there: bool
) -> None:
    upload = make_upload(SDIST)
    if there:  # the bytes, by another name: no upload would be needed
        publish(store.repository, make_upload(WHEEL, SDIST.encode()), locks)
    store.registry.faults.append(refusing({"POST"}, "/blobs/uploads/", status, code))
    before = len(store.registry.changes)

    with pytest.raises(kind):
        publish(store.repository, upload, locks, complete=_never)

    assert [method for method, _ in store.registry.changes[before:]] == ["POST"]


def _uploads(store: Store, tmp_path: Path) -> tuple[int, list[Path]]:
    """How many uploads were begun, and what is left of them."""
    begun = [call for call in store.registry.calls if call[0] == "POST"]
    return len(begun), [one for one in (tmp_path / "storage").rglob("*") if _is_upload(one)]


def _is_upload(path: Path) -> bool:
    return path.is_file() and path.parent.name == ".uploads"


def _wrong(_: Upload) -> Upload:
    raise InvalidRequestError("the archive is broken")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (None, InvalidRequestError),
        (refusing({"HEAD"}, "/blobs/", 500, "UNKNOWN"), RegistryError),
        (refusing({"PUT"}, "/blobs/uploads/", 400, "SIZE_INVALID"), RegistryError),
        (refusing({"PUT"}, "/blobs/uploads/", 503, "UNKNOWN"), RegistryError),
        (refusing({"PUT"}, "/blobs/uploads/", 403, "DENIED"), DeniedError),
    ],
    ids=["archive", "look", "refused", "busy", "denied"],
)
@pytest.mark.parametrize("parallel", [False, True])
def test_an_upload_that_is_given_up_is_cancelled(
    store: Store,
    locks: VersionLocks,
    tmp_path: Path,
    fault: Fault | None,
    kind: type[PyOCIError],
    parallel: bool,
) -> None:
    store.registry.faults += [] if fault is None else [fault]
    complete = _wrong if fault is None else None

    with pytest.raises(kind):
        publish(store.repository, make_upload(SDIST), locks, complete=complete, parallel=parallel)

    begun, left = _uploads(store, tmp_path)
    cancelled = [call for call in store.registry.calls if call[0] == "DELETE"]
    assert len(cancelled) == begun
    assert left == []


def test_an_upload_of_what_is_there_is_cancelled(
    store: Store, locks: VersionLocks, tmp_path: Path
) -> None:
    publish(store.repository, make_upload(SDIST, b"content"), locks)
    publish(store.repository, make_upload(WHEEL, b"content"), locks)

    assert store.names("1.0") == [WHEEL, SDIST]
    assert _uploads(store, tmp_path)[1] == []


def test_an_upload_that_cannot_be_cancelled_hides_no_error(
    store: Store, locks: VersionLocks
) -> None:
    store.registry.faults.append(refusing({"DELETE"}, "/blobs/uploads/", 405, "UNSUPPORTED"))

    with pytest.raises(InvalidRequestError, match="the archive is broken"):
        publish(store.repository, make_upload(SDIST), locks, complete=_wrong)


def test_parallel_uploads_to_one_version_lose_none(store: Store, locks: VersionLocks) -> None:
    names = [f"hello-1.0-{number}-py3-none-any.whl" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda name: publish(store.repository, make_upload(name), locks), names))
    assert store.names("1.0") == sorted(names)


def test_version_text_stays_as_it_was_written(store: Store, locks: VersionLocks) -> None:
    for version, tag in (("1!2.0+cpu", "1_2.0-cpu"), ("1.0.RC1", "1.0.RC1")):
        publish(store.repository, make_upload(f"hello-{version}.tar.gz"), locks)
        assert store.holds(tag)
        assert store.names(version) == [f"hello-{version}.tar.gz"]


@pytest.mark.parametrize("metadata", [b"Metadata-Version: 2.1", None])
def test_known_config_is_pushed_or_looked_for_if_the_version_does_not_name_it(
    store: Store, locks: VersionLocks, metadata: bytes | None
) -> None:
    """A registry that was restored from a backup has not what was pushed since."""
    configs = KnownConfigs()
    names = ["hello-1.0-cp311-cp311-win32.whl", "hello-1.0-cp312-cp312-win32.whl"]
    uploads = [make_upload(name, metadata=metadata) for name in names]
    config = str(Digest.of(metadata or b"{}"))

    def asks(number: int) -> bool:
        store.registry.calls.clear()
        publish(store.repository, uploads[number], locks, configs=configs)
        sent = [path for method, path in store.registry.calls if method == "PUT"]
        pushed = sum("/blobs/uploads/" in path for path in sent) == 2
        return pushed or any(config in path for _, path in store.registry.calls)

    assert asks(0)
    assert not asks(1)
    assert store.registry.ask("DELETE", store.manifest("1.0")).status_code == 202
    assert asks(0)
