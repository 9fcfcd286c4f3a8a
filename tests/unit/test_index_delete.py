import json
from pathlib import Path

import pytest

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    BusyError,
    DeniedError,
    NotFoundError,
    PyOCIError,
    UnsupportedError,
)
from pyoci_flask.index.delete import delete_file, delete_version
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import Filename
from pyoci_flask.index.project import CHANGED, CREATED
from pyoci_flask.index.publish import publish
from pyoci_flask.oci.model import INDEX_TYPE
from pyoci_flask.registry import create_registry
from tests.unit.conftest import Callers
from tests.unit.index_doubles import (
    PROJECT,
    Fault,
    Store,
    make_store,
    make_upload,
    overwriting,
    refusing,
    seeing_late,
)

SDIST = "hello-1.0.tar.gz"
WHEEL = "hello-1.0-py3-none-any.whl"
NO_TAG_DELETE = refusing({"DELETE"}, "/manifests/1.0", 405, "UNSUPPORTED")
NO_TAG_DELETE_OLD = refusing({"DELETE"}, "/manifests/1.0", 400, "DIGEST_INVALID")
NO_DIGEST_DELETE = refusing({"DELETE"}, "/manifests/sha256", 405, "UNSUPPORTED")
NO_DELETE = refusing({"DELETE"}, "/manifests/", 405, "UNSUPPORTED")


@pytest.fixture
def store(caller_of: Callers, tmp_path: Path, locks: VersionLocks) -> Store:
    """Version 1.0 with an sdist and a wheel, and version 2.0 with an sdist of the same bytes."""
    made = make_store(caller_of, create_registry(tmp_path / "storage"))
    publish(made.repository, make_upload(SDIST, b"same"), locks)
    publish(made.repository, make_upload(WHEEL), locks)
    publish(made.repository, make_upload("hello-2.0.tar.gz", b"same"), locks)
    made.registry.calls.clear()
    return made


def remove(store: Store, filename: str, locks: VersionLocks) -> bool:
    return delete_file([store.repository], Filename.parse(filename, PROJECT), locks)


def children(store: Store, version: str) -> list[str]:
    return [str(file.entry.digest) for file in store.files(version) or ()]


def test_deleted_file_leaves_the_others_of_its_version(store: Store, locks: VersionLocks) -> None:
    wheel, sdist = children(store, "1.0")
    assert remove(store, SDIST, locks) is True
    assert store.names("1.0") == [WHEEL]
    assert store.names("2.0") == ["hello-2.0.tar.gz"]
    assert store.holds(wheel)
    assert not store.holds(sdist)
    assert not [path for _, path in store.registry.changes if "/blobs/" in path]


@pytest.mark.parametrize("fault", [None, NO_DELETE])
def test_both_entries_of_a_file_that_is_listed_twice_are_deleted(
    store: Store, locks: VersionLocks, fault: Fault | None
) -> None:
    """Another program may have added the file a second time, next to other files."""
    index = store.registry.document(store.manifest("1.0"))
    (other,) = store.registry.document(store.manifest("2.0"))["manifests"]
    index["manifests"].append(other)
    body = json.dumps(index).encode()
    assert store.registry.ask("PUT", store.manifest("1.0"), body, INDEX_TYPE).status_code == 201
    assert len(store.files("1.0") or ()) == 3
    if fault is not None:
        store.registry.faults.append(fault)

    remove(store, SDIST, locks)

    assert store.names("1.0") == [WHEEL]


def test_deleted_file_can_be_published_again(store: Store, locks: VersionLocks) -> None:
    remove(store, SDIST, locks)
    publish(store.repository, make_upload(SDIST, b"new"), locks)
    assert store.names("1.0") == [WHEEL, SDIST]


def test_version_goes_with_its_last_file(store: Store, locks: VersionLocks) -> None:
    remove(store, SDIST, locks)
    assert remove(store, WHEEL, locks) is True
    assert not store.holds("1.0")
    assert store.holds("2.0")


@pytest.mark.parametrize("filename", ["hello-1.0-cp311-cp311-win32.whl", "hello-3.0.tar.gz"])
def test_file_that_is_not_there_is_not_found(
    store: Store, locks: VersionLocks, filename: str
) -> None:
    with pytest.raises(NotFoundError, match=r"version [13]\.0"):
        remove(store, filename, locks)
    assert store.registry.changes == []


def test_version_is_deleted_by_tag_first_and_then_by_digest(
    store: Store, locks: VersionLocks
) -> None:
    files = children(store, "1.0")
    index = str(store.registry.ask("GET", store.manifest("1.0")).headers["Docker-Content-Digest"])
    assert delete_version([store.repository], "1.0", locks) is True
    assert [path for _, path in store.registry.changes][:2] == [
        store.manifest("1.0"),
        store.manifest(index),
    ]
    assert not any(store.holds(reference) for reference in ["1.0", index, *files])
    assert store.names("2.0") == ["hello-2.0.tar.gz"]


def test_version_that_is_not_there_is_not_found(store: Store, locks: VersionLocks) -> None:
    with pytest.raises(NotFoundError, match=r"hello has no version 3\.0"):
        delete_version([store.repository], "3.0", locks)


@pytest.mark.parametrize("fault", [NO_TAG_DELETE, NO_TAG_DELETE_OLD])
def test_version_is_deleted_by_digest_if_tags_cannot_be_deleted(
    store: Store, locks: VersionLocks, fault: Fault
) -> None:
    files = children(store, "1.0")
    store.registry.faults.append(fault)
    assert delete_version([store.repository], "1.0", locks) is True
    assert store.names("1.0") is None
    assert not any(store.holds(reference) for reference in files)


def test_version_is_deleted_by_tag_if_digests_cannot_be_deleted(
    store: Store, locks: VersionLocks
) -> None:
    store.registry.faults.append(NO_DIGEST_DELETE)
    assert delete_version([store.repository], "1.0", locks) is False
    assert store.names("1.0") is None


@pytest.mark.parametrize("status", [401, 403])
def test_file_stays_in_the_index_if_deletion_is_denied(
    store: Store, locks: VersionLocks, status: int
) -> None:
    store.registry.faults.append(refusing({"DELETE"}, "/manifests/", status, "DENIED"))
    with pytest.raises((AuthenticationRequiredError, DeniedError)):
        remove(store, SDIST, locks)
    with pytest.raises((AuthenticationRequiredError, DeniedError)):
        delete_version([store.repository], "1.0", locks)
    assert store.names("1.0") == [WHEEL, SDIST]
    assert {method for method, _ in store.registry.changes} == {"DELETE"}


@pytest.mark.parametrize("status", [429, 500])
def test_deletion_succeeds_if_the_registry_fails_after_the_index_was_changed(
    store: Store, locks: VersionLocks, status: int
) -> None:
    """The same again would find nothing to delete."""
    store.registry.faults.append(refusing({"DELETE"}, "/manifests/sha256", status, "UNKNOWN"))
    assert remove(store, SDIST, locks) is False
    assert store.names("1.0") == [WHEEL]
    assert delete_version([store.repository], "1.0", locks) is False
    assert store.names("1.0") is None


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_deletion_fails_if_the_tag_stays_and_the_registry_fails_to_delete_the_index(
    store: Store, locks: VersionLocks, status: int
) -> None:
    store.registry.faults.append(NO_TAG_DELETE)
    store.registry.faults.append(refusing({"DELETE"}, "/manifests/sha256", status, "UNKNOWN"))
    with pytest.raises(PyOCIError):
        delete_version([store.repository], "1.0", locks)
    assert store.names("1.0") == [WHEEL, SDIST]


def test_version_is_emptied_where_nothing_can_be_deleted(store: Store, locks: VersionLocks) -> None:
    files = children(store, "1.0")
    store.registry.faults.append(NO_DELETE)
    assert delete_version([store.repository], "1.0", locks) is False
    assert store.names("1.0") == []
    assert all(store.holds(reference) for reference in files)
    assert store.names("2.0") == ["hello-2.0.tar.gz"]
    with pytest.raises(NotFoundError, match=r"no files in version 1\.0"):
        delete_version([store.repository], "1.0", locks)


def test_file_is_removed_from_the_index_if_nothing_can_be_deleted(
    store: Store, locks: VersionLocks
) -> None:
    store.registry.faults.append(NO_DELETE)
    assert remove(store, SDIST, locks) is False
    assert store.names("1.0") == [WHEEL]
    assert remove(store, WHEEL, locks) is False
    assert store.names("1.0") == []
    publish(store.repository, make_upload(SDIST), locks)
    assert store.names("1.0") == [SDIST]


def test_a_version_that_is_emptied_and_filled_again_tells_the_time_of_each_change(
    store: Store, locks: VersionLocks
) -> None:
    store.registry.faults.append(NO_DELETE)
    indexes = [store.registry.document(store.manifest("1.0"))]
    for change in (
        lambda: remove(store, SDIST, locks),
        lambda: delete_version([store.repository], "1.0", locks),
        lambda: publish(store.repository, make_upload(SDIST), locks),
    ):
        change()
        indexes.append(store.registry.document(store.manifest("1.0")))
    assert [len(index["manifests"]) for index in indexes] == [2, 1, 0, 1]
    times = [index["annotations"][CHANGED] for index in indexes]
    assert times == sorted(set(times))
    assert len({index["annotations"][CREATED] for index in indexes}) == 1


def test_registry_that_can_neither_delete_nor_write_changes_nothing(
    store: Store, locks: VersionLocks
) -> None:
    fault = refusing({"PUT"}, "/manifests/", 412, "PRECONDITION")
    store.registry.faults += [NO_DELETE, fault]
    with pytest.raises(UnsupportedError, match="can neither delete nor change"):
        delete_version([store.repository], "1.0", locks)
    with pytest.raises(UnsupportedError, match="can neither delete nor change"):
        remove(store, SDIST, locks)
    assert store.names("1.0") == [WHEEL, SDIST]


def test_file_of_an_immutable_version_cannot_be_deleted_alone(
    store: Store, locks: VersionLocks
) -> None:
    store.registry.faults.append(refusing({"PUT"}, "/manifests/1.0", 400, "TAG_INVALID"))
    with pytest.raises(UnsupportedError):
        remove(store, SDIST, locks)
    assert store.names("1.0") == [WHEEL, SDIST]
    # The first one asks whether deletion is denied, of a digest that is not there.
    assert [method for method, _ in store.registry.changes] == ["DELETE", "PUT"]


def test_stale_reads_after_the_rewrite_are_waited_out(store: Store, locks: VersionLocks) -> None:
    store.registry.faults.append(seeing_late("1.0", 1))
    assert remove(store, SDIST, locks) is True
    assert store.names("1.0") == [WHEEL]


def test_deletion_that_another_writer_undid_is_done_again(
    store: Store, locks: VersionLocks
) -> None:
    publish(store.repository, make_upload("hello-1.0-cp311-cp311-win32.whl"), locks)
    with_both = store.registry.ask("GET", store.manifest("1.0")).get_data()
    store.registry.faults.append(overwriting("1.0", with_both, INDEX_TYPE, 2))
    assert remove(store, SDIST, locks) is True
    assert store.names("1.0") == ["hello-1.0-cp311-cp311-win32.whl", WHEEL]


def test_upload_under_way_keeps_a_deletion_waiting(store: Store, locks: VersionLocks) -> None:
    with (
        locks.hold(store.repository.caller.repository.location, "1.0"),
        pytest.raises(BusyError),
    ):
        delete_version([store.repository], "1.0", locks)
    assert store.names("1.0") == [WHEEL, SDIST]


def test_second_candidate_is_looked_at_as_well(
    store: Store, locks: VersionLocks, caller_of: Callers
) -> None:
    empty = make_store(caller_of, store.registry, "empty")
    candidates = [empty.repository, store.repository]
    assert delete_version(candidates, "1.0", locks) is True
    assert store.names("1.0") is None
