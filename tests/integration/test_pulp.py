"""A registry that reads configs as JSON, and deletes later than it reports, like Pulp."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import Pulp
from tests.packages import make_sdist, make_wheel

WHEEL, SDIST = "foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@pytest.fixture
def index(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[IndexClient]:
    with wsgi_server(Pulp(create_registry(tmp_path / "storage"))) as url:
        yield IndexClient(f"{app_server()}/{address(url)}/team", None, http)


def test_a_file_is_stored_without_its_core_metadata_which_is_read_from_the_wheel(
    index: IndexClient, tmp_path: Path
) -> None:
    wheel = index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    sdist = index.published(make_sdist(tmp_path, "foo", "1.0"), "foo", "1.0")

    files = {one["filename"]: one for one in index.get("/foo/", headers=JSON).json()["files"]}
    assert files.keys() == {WHEEL, SDIST}
    assert index.get(f"/foo/{WHEEL}").content == wheel.read_bytes()
    assert index.get(f"/foo/{SDIST}").content == sdist.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("foo-1.0.dist-info/METADATA")
    assert index.get(f"/foo/{WHEEL}.metadata").content == metadata


def test_a_version_is_gone_when_its_deletion_is_answered(
    index: IndexClient, tmp_path: Path
) -> None:
    index.published(make_sdist(tmp_path, "foo", "1.0"), "foo", "1.0")
    wheel = index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")

    assert index.request("DELETE", "/foo/1.0").ok
    index.published(wheel, "foo", "1.0")

    assert index.filenames("foo") == [WHEEL]
