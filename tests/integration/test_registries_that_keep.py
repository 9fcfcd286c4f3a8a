"""Registries that delete nothing, or do not let a tag be written again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import WriteOnce, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry, docker_registry

WHEEL = "foo-1.0-py3-none-any.whl"
SDIST = "foo-1.0.tar.gz"


@pytest.fixture(scope="module")
def docker_without_delete(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """docker-registry that answers 405 UNSUPPORTED to every DELETE."""
    with docker_registry(tmp_path_factory.mktemp("keeps"), delete=False) as registry:
        yield registry


@pytest.fixture
def keeping(
    shared_app: str,
    docker_without_delete: RunningRegistry,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> IndexClient:
    """A version of two files in a registry that deletes nothing."""
    base = f"{shared_app}/{docker_without_delete.address}/{namespace}"
    return _with_two_files(IndexClient(base, None, http), tmp_path)


def _with_two_files(index: IndexClient, folder: Path) -> IndexClient:
    index.published(make_sdist(folder, "foo", "1.0"), "foo", "1.0")
    index.published(make_wheel(folder, "foo", "1.0"), "foo", "1.0")
    return index


def test_a_deleted_file_leaves_the_page_and_its_bytes_are_said_to_stay(
    keeping: IndexClient,
) -> None:
    response = keeping.request("DELETE", f"/foo/{WHEEL}")

    assert response.status_code == 200, response.text
    assert "keeps the bytes" in response.text
    assert keeping.filenames("foo") == [SDIST]
    assert keeping.get(f"/foo/{WHEEL}").status_code == 404


def test_a_deleted_version_leaves_an_index_without_entries(
    keeping: IndexClient,
    docker_without_delete: RunningRegistry,
    namespace: str,
    http: requests.Session,
) -> None:
    response = keeping.request("DELETE", "/foo/1.0")

    assert response.status_code == 200, response.text
    assert "keeps the bytes" in response.text
    assert keeping.filenames("foo") == []
    oci = OCIClient(docker_without_delete, f"{namespace}/foo", http)
    assert oci.document("1.0")["manifests"] == []
    assert keeping.request("DELETE", "/foo/1.0").status_code == 404


def test_a_deleted_file_can_be_published_again(keeping: IndexClient, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    new = make_wheel(tmp_path / "new", "foo", "1.0", summary="built again")

    assert keeping.request("DELETE", "/foo/1.0").ok
    keeping.published(new, "foo", "1.0")

    assert keeping.filenames("foo") == [WHEEL]
    assert keeping.get(f"/foo/{WHEEL}").content == new.read_bytes()


@pytest.fixture
def write_once(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> Iterator[IndexClient]:
    """A version of one file in a registry where tags cannot be written again."""
    with wsgi_server(WriteOnce(create_registry(tmp_path / "registry"))) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", None, http)
        index.published(make_sdist(tmp_path, "foo", "1.0"), "foo", "1.0")
        yield index


def test_a_second_file_of_a_version_is_refused_where_tags_are_immutable(
    write_once: IndexClient, tmp_path: Path
) -> None:
    response = write_once.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")

    assert response.status_code == 409
    assert "immutable" in response.text
    assert write_once.filenames("foo") == [SDIST]


@pytest.mark.parametrize("what", [SDIST, "1.0"])
def test_an_impossible_deletion_is_a_405_and_changes_nothing(
    write_once: IndexClient, tmp_path: Path, what: str
) -> None:
    response = write_once.request("DELETE", f"/foo/{what}")

    assert response.status_code == 405
    assert write_once.filenames("foo") == [SDIST]
    assert write_once.get(f"/foo/{SDIST}").content == (tmp_path / SDIST).read_bytes()


def test_the_next_version_can_be_published_where_tags_are_immutable(
    write_once: IndexClient, tmp_path: Path
) -> None:
    wheel = write_once.published(make_wheel(tmp_path, "foo", "2.0"), "foo", "2.0")

    assert write_once.filenames("foo") == [wheel.name, SDIST]
