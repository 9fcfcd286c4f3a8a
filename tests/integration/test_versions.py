"""Which versions of a project are listed, in which order, and which other tags may exist."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from packaging.version import Version

from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.integration.oci_client import (
    ARTIFACT,
    DOCKER_MANIFEST,
    EMPTY,
    MANIFEST,
    OCIClient,
    image_index,
    push_original,
    sha256,
)
from tests.packages import make_wheel
from tests.registries import IN_PROCESS, RunningRegistry

MANY = [f"1.{minor}" for minor in range(150)]


@pytest.fixture
def many(repository: Callable[[str], OCIClient]) -> OCIClient:
    """A repository of 150 versions with one file each, oldest first."""
    oci = repository("many")
    (entry,) = push_original(oci, MANY[0], {".tar.gz": b"the same bytes"}).values()
    for version in MANY[1:]:
        oci.push(image_index([entry]), version)
    return oci


def _filenames(versions: list[str]) -> list[str]:
    return [f"many-{version}.tar.gz" for version in sorted(versions, key=Version, reverse=True)]


@pytest.mark.usefixtures("many")
def test_of_150_versions_the_newest_100_are_listed_newest_first(index: IndexClient) -> None:
    listed = index.filenames("many")

    assert listed == _filenames(MANY[50:])
    assert listed[:2] == ["many-1.149.tar.gz", "many-1.148.tar.gz"]


@pytest.mark.usefixtures("many")
def test_with_a_limit_of_zero_all_150_versions_are_listed(
    app_server: AppServer, registry: RunningRegistry, namespace: str, http: requests.Session
) -> None:
    environ = {"PYOCI_MAX_VERSIONS": "0"}
    if registry.kind == IN_PROCESS:
        environ["PYOCI_STORAGE"] = str(registry.storage)
    base = f"{app_server(environ)}/{registry.address}/{namespace}"

    assert IndexClient(base, registry.auth, http).filenames("many") == _filenames(MANY)


@pytest.mark.usefixtures("many")
def test_the_legacy_json_names_every_version_and_the_times_of_the_listed_files(
    index: IndexClient,
) -> None:
    response = index.get("/many/json")

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    document = response.json()
    assert set(document["releases"]) == set(MANY)
    assert document["info"]["version"] == "1.149"
    assert document["info"]["name"] == "many"
    (file,) = document["releases"]["1.149"]
    assert file["filename"] == "many-1.149.tar.gz"
    assert file["upload_time"].startswith("2024-05-06T07:08:09")
    assert file["digests"]["sha256"] == sha256(b"the same bytes")


def test_versions_are_ordered_as_python_orders_them(
    index: IndexClient, repository: Callable[[str], OCIClient]
) -> None:
    versions = ["1.9", "1.10", "1.10rc1", "1.10.dev1", "1.10.post1", "1!0.1", "1.10+local"]
    oci = repository("many")
    (entry,) = push_original(oci, "1.0", {".tar.gz": b"bytes"}).values()
    for version in versions:
        oci.push(image_index([entry]), version.replace("+", "-").replace("!", "_"))

    assert index.filenames("many") == _filenames([*versions, "1.0"])


def test_a_tag_that_is_no_version_comes_last(
    index: IndexClient, repository: Callable[[str], OCIClient]
) -> None:
    oci = repository("many")
    push_original(oci, "nightly", {".tar.gz": b"a"})
    push_original(oci, "0.1", {".tar.gz": b"b"})

    assert index.filenames("many")[0] == "many-0.1.tar.gz"


def _push_container_image(oci: OCIClient, tag: str, manifest_type: str) -> None:
    """A container image, as docker and podman push them."""
    prefix = "application/vnd.docker." if manifest_type == DOCKER_MANIFEST else "application/vnd."
    config = oci.push_blob(
        f"{prefix}container.image.v1+json", json.dumps({"architecture": "amd64"}).encode()
    )
    layer = oci.push_blob(f"{prefix}image.rootfs.diff.tar.gzip", b"a layer")
    oci.push(
        {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]}, tag
    )


@pytest.mark.parametrize("manifest_type", [DOCKER_MANIFEST, MANIFEST], ids=["docker", "oci"])
def test_a_container_image_among_the_versions_is_left_out(
    index: IndexClient,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
    manifest_type: str,
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    _push_container_image(repository("my_pkg"), "2.0", manifest_type)
    _push_container_image(repository("my_pkg"), "latest", manifest_type)

    assert index.filenames("my-pkg") == [wheel.name]
    assert index.get("/my-pkg/my_pkg-2.0-py3-none-any.whl").status_code == 404


def test_an_index_of_another_artifact_type_is_left_out(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    oci = repository("my_pkg")
    (entry,) = oci.document("1.0")["manifests"]
    oci.push(image_index([entry], artifactType="application/vnd.example.chart"), "2.0")

    assert index.filenames("my-pkg") == [wheel.name]
    assert index.get("/my-pkg/my_pkg-2.0-py3-none-any.whl").status_code == 404


def test_a_foreign_tag_is_not_overwritten_by_a_publish(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    oci = repository("my_pkg")
    _push_container_image(oci, "1.0", MANIFEST)
    before = oci.manifest("1.0").content

    response = index.publish(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    assert 400 <= response.status_code < 500
    assert oci.manifest("1.0").content == before


def test_an_entry_without_platform_is_left_out(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    oci = repository("my_pkg")
    (good,) = oci.document("1.0")["manifests"]
    bare = {key: good[key] for key in ("mediaType", "digest", "size")}
    oci.push(image_index([bare, good]), "1.0")

    assert index.filenames("my-pkg") == [wheel.name]


def test_a_version_whose_child_is_gone_does_not_hide_the_good_ones(
    index: IndexClient,
    registry: RunningRegistry,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    oci = repository("my_pkg")
    (entry,) = push_original(oci, "2.0", {".tar.gz": b"soon gone"}).values()
    if registry.can_delete:
        oci.request("DELETE", f"manifests/{entry['digest']}").raise_for_status()
    else:
        # zuul-registry accepts an index whose child never existed.
        oci.push(image_index([entry | {"digest": f"sha256:{'0' * 64}"}]), "2.0")
    assert oci.manifest("2.0").status_code == 200

    assert wheel.name in index.filenames("my-pkg")
    assert index.get(f"/my-pkg/{wheel.name}").content == wheel.read_bytes()


def test_a_download_whose_manifest_and_digest_annotation_are_gone_is_a_404(
    index: IndexClient, registry: RunningRegistry, repository: Callable[[str], OCIClient]
) -> None:
    oci = repository("my_pkg")
    (entry,) = push_original(
        oci, "2.0", {".tar.gz": b"soon gone"}, digest_annotation=False
    ).values()
    if registry.can_delete:
        oci.request("DELETE", f"manifests/{entry['digest']}").raise_for_status()
    else:
        oci.push(image_index([entry | {"digest": f"sha256:{'0' * 64}"}]), "2.0")

    assert index.get("/my-pkg/my_pkg-2.0.tar.gz").status_code == 404


def test_an_index_without_entries_is_a_version_without_files(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    repository("my_pkg").push(image_index([]), "2.0")
    assert index.filenames("my-pkg") == []

    wheel = index.published(make_wheel(tmp_path, "my_pkg", "2.0"), "my-pkg", "2.0")
    assert index.filenames("my-pkg") == [wheel.name]


def test_a_layer_that_the_index_names_alone_is_found_through_the_manifest(
    index: IndexClient, repository: Callable[[str], OCIClient]
) -> None:
    oci = repository("my_pkg")
    layer = oci.push_blob(ARTIFACT, b"found through its manifest")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": oci.push_blob(EMPTY, b"{}"),
        "layers": [layer],
    }
    platform = {"architecture": ".tar.gz", "os": "any"}
    oci.push(image_index([oci.push(manifest, platform=platform)], annotations={}), "1.0")

    (link,) = index.page("my-pkg")

    assert index.follow("my-pkg", link).content == b"found through its manifest"
