import json
import random
from pathlib import Path

import pytest

from pyoci_flask.errors import NotFoundError, RegistryError
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.listing import find_project, newest_first
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import Candidates
from pyoci_flask.index.publish import publish
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.oci.model import INDEX_TYPE, MANIFEST_TYPE
from pyoci_flask.registry import create_registry
from tests.unit.conftest import Callers
from tests.unit.index_doubles import Store, make_store, make_upload, refusing

ORDER = [
    "1_0.1",
    "2.0-cpu.1",
    "2.0",
    "2.0rc1",
    "2.0.dev1",
    "1.10",
    "1.9.post1",
    "1.9",
    "0.1",
    "latest",
    "a.sig",
]


def list_project(candidates: Candidates, pool: FetchPool, limit: int) -> Project:
    return VersionReader(pool).project(*find_project(candidates), limit)


@pytest.fixture
def store(caller_of: Callers, tmp_path: Path) -> Store:
    return make_store(caller_of, create_registry(tmp_path / "storage"))


def fill(store: Store, tmp_path: Path, *versions: str) -> None:
    for version in versions:
        upload = make_upload(f"hello-{version}.tar.gz")
        publish(store.repository, upload, VersionLocks(tmp_path / "locks"))


def test_newest_version_comes_first_and_what_is_none_last() -> None:
    for seed in range(20):
        tags = ORDER.copy()
        random.Random(seed).shuffle(tags)
        assert newest_first(tags)[:-2] == ORDER[:-2]
        assert set(newest_first(tags)[-2:]) == {"latest", "a.sig"}


def test_files_of_the_newest_versions_are_listed(store: Store, tmp_path: Path) -> None:
    fill(store, tmp_path, "1.9", "1.10", "1.2", "1!0.1")
    store.registry.calls.clear()
    project = list_project([store.repository], FetchPool(4), 2)
    assert project.name == "hello"
    assert project.versions == ("1!0.1", "1.10", "1.9", "1.2")
    assert [file.version for file in project.files] == ["1!0.1", "1.10"]
    assert len(store.registry.calls) == 3
    assert len(list_project([store.repository], FetchPool(4), 0).files) == 4


def test_missing_repository_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"embedded has no project hello .*python/hello"):
        list_project([store.repository], FetchPool(1), 100)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}, INDEX_TYPE),
        (
            {
                "schemaVersion": 2,
                "mediaType": INDEX_TYPE,
                "artifactType": "application/helm",
                "manifests": [],
            },
            INDEX_TYPE,
        ),
    ],
)
def test_foreign_tag_among_good_ones_is_left_out(
    store: Store, tmp_path: Path, body: object, media_type: str
) -> None:
    fill(store, tmp_path, "1.0")
    for tag in ("2.0", "latest"):
        path = store.manifest(tag)
        assert (
            store.registry.ask("PUT", path, json.dumps(body).encode(), media_type).status_code
            == 201
        )
    project = list_project([store.repository], FetchPool(4), 100)
    assert [file.filename.text for file in project.files] == ["hello-1.0.tar.gz"]
    assert project.versions == ("1.0",)


def test_plain_manifest_and_a_tag_that_is_gone_are_left_out(store: Store, tmp_path: Path) -> None:
    fill(store, tmp_path, "1.0", "2.0", "3.0")
    child = store.registry.document(store.manifest("2.0"))["manifests"][0]["digest"]
    manifest = store.registry.ask("GET", store.manifest(child)).get_data()
    assert (
        store.registry.ask("PUT", store.manifest("2.0"), manifest, MANIFEST_TYPE).status_code == 201
    )
    store.registry.faults.append(refusing({"GET"}, "/manifests/3.0", 404, "MANIFEST_UNKNOWN"))
    project = list_project([store.repository], FetchPool(4), 100)
    assert project.versions == ("1.0",)


def test_failure_of_one_version_is_one_of_the_listing(store: Store, tmp_path: Path) -> None:
    fill(store, tmp_path, "1.0", "2.0")
    store.registry.faults.append(refusing({"GET"}, "/manifests/2.0", 418, "TEAPOT"))
    with pytest.raises(RegistryError, match="TEAPOT"):
        list_project([store.repository], FetchPool(4), 100)


def test_emptied_version_is_not_listed_and_the_project_is_there(
    store: Store, tmp_path: Path
) -> None:
    fill(store, tmp_path, "1.0")
    index = store.registry.document(store.manifest("1.0")) | {"manifests": []}
    body = json.dumps(index).encode()
    assert store.registry.ask("PUT", store.manifest("1.0"), body, INDEX_TYPE).status_code == 201
    project = list_project([store.repository], FetchPool(4), 100)
    assert (project.versions, project.files) == ((), ())


def test_dotted_repository_of_the_original_is_found(
    store: Store, tmp_path: Path, caller_of: Callers
) -> None:
    missing = make_store(caller_of, store.registry, "missing")
    fill(store, tmp_path, "1.0")
    candidates = [missing.repository, store.repository]
    assert list_project(candidates, FetchPool(2), 100).versions == ("1.0",)
