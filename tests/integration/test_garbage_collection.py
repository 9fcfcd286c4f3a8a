"""Distribution after a garbage collection, while it still remembers the removed blobs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient
from tests.packages import make_wheel
from tests.registries import RunningRegistry, docker_registry

WHEEL = "foo-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remembers")


@pytest.fixture(scope="module")
def remembering(folder: Path) -> Iterator[RunningRegistry]:
    """docker-registry with the configuration that Debian ships."""
    with docker_registry(folder, remembers=True) as registry:
        yield registry


def test_a_file_is_published_again_after_the_garbage_collection_of_a_running_registry(
    app_server: AppServer,
    remembering: RunningRegistry,
    folder: Path,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    index = IndexClient(f"{app_server()}/{remembering.address}/{namespace}", None, http)
    wheel = index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    assert index.request("DELETE", "/foo/1.0").ok
    config = folder / "docker-registry" / "config.yml"
    collected = ["docker-registry", "garbage-collect", str(config)]
    subprocess.run(collected, check=True, capture_output=True)
    oci = OCIClient(remembering, f"{namespace}/foo", http)
    assert oci.has_blob(wheel.read_bytes())  # it says so

    index.published(wheel, "foo", "1.0")

    assert index.filenames("foo") == [WHEEL]
    assert index.get(f"/foo/{WHEEL}").content == wheel.read_bytes()
    assert index.get(f"/foo/{WHEEL}.metadata").ok


def test_publishing_an_identical_file_heals_one_whose_bytes_are_gone(
    app_server: AppServer,
    remembering: RunningRegistry,
    folder: Path,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    app = app_server({"PYOCI_SKIP_IDENTICAL": "true"})
    index = IndexClient(f"{app}/{remembering.address}/{namespace}", None, http)
    wheel = index.published(make_wheel(tmp_path, "foo", "2.0", summary="lost"), "foo", "2.0")
    page = index.page("foo")
    for data in (folder / "docker-registry" / "storage").rglob("blobs/sha256/*/*/data"):
        if data.read_bytes() == wheel.read_bytes():
            data.unlink()

    index.published(wheel, "foo", "2.0")

    assert index.page("foo") == page
    assert index.follow("foo", page[0]).content == wheel.read_bytes()
