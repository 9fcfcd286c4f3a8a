"""Core metadata beside a wheel (PEP 658, 714): stored, or read out of the wheel by ranges."""

import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import (
    ARTIFACT,
    MANIFEST,
    OCIClient,
    image_index,
    push_original,
    sha256,
)
from tests.integration.registry_doubles import (
    ALICE,
    BOB,
    BlobMeter,
    Members,
    Refusing,
    WithoutRanges,
    serving,
)
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = "my_pkg-1.0-py3-none-any.whl"
MEMBER = "my_pkg-1.0.dist-info/METADATA"
METADATA = b"Metadata-Version: 2.1\nName: my-pkg\nVersion: 1.0\nRequires-Dist: other>=2\n"
MEBIBYTE = 1 << 20
FEW_CALLS = 4
FEW_BYTES = 300_000


def _files(index: IndexClient) -> dict[str, dict[str, Any]]:
    response = index.get("/my-pkg/", headers={"Accept": JSON})
    assert response.status_code == 200, response.text
    return {file["filename"]: file for file in response.json()["files"]}


def _metadata_of(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return archive.read(name)


def test_the_stored_metadata_is_announced_with_its_sha256_and_answered(
    index: IndexClient, tmp_path: Path
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    file = _files(index)[WHEEL]
    response = index.get(f"/my-pkg/{file['url']}.metadata")

    assert response.status_code == 200
    assert response.content == _metadata_of(wheel)
    assert file["core-metadata"] == {"sha256": sha256(response.content)}
    assert file["dist-info-metadata"] == file["core-metadata"]
    assert response.headers["Content-Length"] == str(len(response.content))
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert response.headers["Vary"] == "Authorization"


def test_metadata_of_an_sdist_is_neither_announced_nor_answered(
    index: IndexClient, tmp_path: Path
) -> None:
    sdist = index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    assert "core-metadata" not in _files(index)[sdist.name]
    assert index.get(f"/my-pkg/{sdist.name}.metadata").status_code == 404


def test_metadata_of_what_is_not_there_is_missing(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    for filename in (WHEEL.replace("1.0", "2.0"), WHEEL.replace("py3-none", "cp311-cp311")):
        assert index.get(f"/my-pkg/{filename}.metadata").status_code == 404


def test_metadata_is_for_those_whom_the_registry_lets_read_it(
    index: IndexClient, registry: RunningRegistry, tmp_path: Path
) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    response = index.get(f"/my-pkg/{WHEEL}.metadata", auth=None)

    assert response.status_code == (200 if registry.auth is None else 401)


def test_the_originals_wheel_is_announced_where_the_registry_was_seen_to_answer_ranges(
    index: IndexClient,
    registry: RunningRegistry,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", size=200_000)
    push_original(repository("my_pkg"), "1.0", {"py3-none-any.whl": wheel.read_bytes()})

    file = _files(index)[WHEEL]
    response = index.get(f"/my-pkg/{WHEEL}.metadata")

    if registry.kind == "zuul-registry":
        assert "core-metadata" not in file
        assert response.status_code == 404
    else:
        assert file["core-metadata"] is True
        assert file["dist-info-metadata"] is True
        assert response.status_code == 200
        assert response.content == _metadata_of(wheel)


@pytest.mark.parametrize("digest_annotation", [True, False], ids=["digest", "no-digest"])
def test_a_wheel_without_a_digest_in_the_index_is_found_by_its_manifest(
    shared_app: str,
    docker_open: RunningRegistry,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
    *,
    digest_annotation: bool,
) -> None:
    oci = OCIClient(docker_open, f"{namespace}/my_pkg", http)
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    files = {"py3-none-any.whl": wheel.read_bytes()}
    push_original(oci, "1.0", files, digest_annotation=digest_annotation)
    index = IndexClient(f"{shared_app}/{docker_open.address}/{namespace}", None, http)

    assert _files(index)[WHEEL]["core-metadata"] is True
    assert index.get(f"/my-pkg/{WHEEL}.metadata").content == _metadata_of(wheel)


@dataclass(frozen=True, slots=True)
class Lab:
    """An application of its own over a registry that counts what is read of blobs."""

    index: IndexClient
    meter: BlobMeter
    oci: OCIClient

    def push(self, content: bytes, tag: str = "1.0") -> None:
        """Store a wheel as the original does."""
        push_original(self.oci, tag, {"py3-none-any.whl": content})
        self.meter.fetches.clear()

    def metadata(self) -> requests.Response:
        return self.index.get(f"/my-pkg/{WHEEL}.metadata")


@pytest.fixture
def lab(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    with serving(meter) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        yield Lab(index, meter, OCIClient(registry, "team/my_pkg", http))


def _wheel_bytes(folder: Path, before: int, after: int, metadata: bytes = METADATA) -> bytes:
    """A wheel whose METADATA stands after `before` and before `after` incompressible bytes."""
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("my_pkg/before.bin", os.urandom(before))
        archive.writestr(MEMBER, metadata)
        archive.writestr("my_pkg/after.bin", os.urandom(after))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [(0, 8 * MEBIBYTE), (4 * MEBIBYTE, 4 * MEBIBYTE), (8 * MEBIBYTE, 0), (0, 0)],
    ids=["beginning", "middle", "end", "small"],
)
def test_metadata_is_read_with_few_and_small_ranges_wherever_it_stands(
    lab: Lab, tmp_path: Path, before: int, after: int
) -> None:
    lab.push(_wheel_bytes(tmp_path, before, after))

    response = lab.metadata()

    assert response.content == METADATA
    parts = [fetch for fetch in lab.meter.fetches if fetch.method == "GET"]
    assert 1 <= len(parts) <= FEW_CALLS
    assert all(fetch.range is not None and fetch.status == 206 for fetch in parts)
    assert lab.meter.size <= FEW_BYTES


def test_a_wheel_of_very_many_files_is_read_through_its_directory(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, METADATA)
        for number in range(3000):
            archive.writestr(f"my_pkg/a_rather_long_name_of_a_module_{number}.py", b"")
    lab.push(path.read_bytes())

    assert lab.metadata().content == METADATA
    assert len(lab.meter.fetches) <= FEW_CALLS + 1


def test_metadata_is_read_once_and_then_answered_from_memory(lab: Lab, tmp_path: Path) -> None:
    lab.push(_wheel_bytes(tmp_path, 100, 100))
    first = lab.metadata()
    lab.meter.fetches.clear()

    assert lab.metadata().content == first.content
    assert lab.meter.fetches == []


def test_a_wheel_that_was_replaced_under_its_name_has_its_own_metadata(
    lab: Lab, tmp_path: Path
) -> None:
    lab.push(_wheel_bytes(tmp_path, 100, 100))
    old = lab.metadata()
    changed = METADATA + b"Requires-Dist: third\n"
    lab.push(_wheel_bytes(tmp_path, 100, 100, changed))

    new = lab.metadata()

    assert new.content == changed
    assert new.headers["ETag"] != old.headers["ETag"]


def test_one_probe_tells_whether_a_registry_answers_ranges(lab: Lab, tmp_path: Path) -> None:
    for version in ("1.0", "1.1", "1.2"):
        lab.push(_wheel_bytes(tmp_path, 5000, 5000), version)

    first = _files(lab.index)
    probes = list(lab.meter.fetches)
    _files(lab.index)

    assert [file["core-metadata"] for file in first.values()] == [True] * 3
    (probe,) = probes
    assert probe.range is not None
    assert probe.size < 100
    assert lab.meter.fetches == probes


def test_a_registry_that_sends_the_whole_is_not_read_for_metadata(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    with serving(WithoutRanges(meter)) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        content = _wheel_bytes(tmp_path, MEBIBYTE, MEBIBYTE)
        push_original(
            OCIClient(registry, "team/my_pkg", http), "1.0", {"py3-none-any.whl": content}
        )

        assert "core-metadata" not in _files(index)[WHEEL]
        assert index.get(f"/my-pkg/{WHEEL}.metadata").status_code == 404
        assert index.get(f"/my-pkg/{WHEEL}").content == content


@pytest.mark.parametrize("status", [401, 403, 404, 416, 429, 500])
def test_a_page_is_shown_without_an_announcement_where_the_probe_fails(
    app_server: AppServer, http: requests.Session, tmp_path: Path, status: int
) -> None:
    app = create_registry(tmp_path / "registry")
    refusing = Refusing(
        app, lambda asked: asked.method == "GET" and "/blobs/" in asked.path, status
    )
    with serving(refusing) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        content = _wheel_bytes(tmp_path, 10, 10)
        push_original(
            OCIClient(registry, "team/my_pkg", http), "1.0", {"py3-none-any.whl": content}
        )

        assert "core-metadata" not in _files(index)[WHEEL]


def test_metadata_read_for_one_user_is_not_given_to_another_who_may_not_read_the_repository(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    calls = Recorder(Members(create_registry(tmp_path / "registry")))
    with wsgi_server(calls) as url:
        registry = RunningRegistry(url, "", *ALICE, True, "double")
        content = _wheel_bytes(tmp_path, 10, 10)
        push_original(
            OCIClient(registry, "team/my_pkg", http), "1.0", {"py3-none-any.whl": content}
        )
        index = IndexClient(f"{app_server()}/{address(url)}/team", ALICE, http)
        path = f"/my-pkg/{WHEEL}.metadata"
        read = index.get(path)
        assert read.content == METADATA

        assert index.get(path, auth=BOB).status_code == 403
        assert index.get(path, auth=None).status_code == 401
        assert index.get(path, auth=("mallory", "guess")).status_code == 401
        known = {"If-None-Match": read.headers["ETag"]}
        assert index.get(path, auth=BOB, headers=known).status_code == 403
        assert index.get(path, headers=known).status_code == 304


def test_head_and_if_none_match_of_metadata(lab: Lab, tmp_path: Path) -> None:
    lab.push(_wheel_bytes(tmp_path, 10, 10))
    whole = lab.metadata()
    path = f"/my-pkg/{WHEEL}.metadata"

    head = lab.index.request("HEAD", path)
    known = lab.index.get(path, headers={"If-None-Match": whole.headers["ETag"]})

    assert whole.headers["ETag"] == f'"sha256:{sha256(METADATA)}"'
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(METADATA)))
    assert head.headers["ETag"] == whole.headers["ETag"]
    assert (known.status_code, known.content) == (304, b"")


def test_stored_metadata_whose_blob_is_gone_is_missing(lab: Lab, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    lab.index.published(wheel, "my-pkg", "1.0")
    digest = f"sha256:{sha256(_metadata_of(wheel))}"
    assert lab.oci.request("DELETE", f"blobs/{digest}").ok

    assert lab.metadata().status_code == 404


def test_metadata_under_another_digest_than_announced_is_not_given(
    lab: Lab, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
    config = lab.oci.push_blob("application/pyoci.core-metadata.v1", METADATA)
    layer = lab.oci.push_blob(ARTIFACT, wheel)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": config,
        "layers": [layer],
    }
    notes = {
        "com.pyoci.sha256_digest": sha256(wheel),
        "com.pyoci.core_metadata_sha256": sha256(b"others"),
    }
    platform = {"architecture": "py3-none-any.whl", "os": "any"}
    lab.oci.push(image_index([lab.oci.push(manifest, platform=platform, annotations=notes)]), "1.0")

    assert lab.metadata().status_code == 404


def _end_of_directory(size: int, offset: int, entries: int = 1) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, size, offset, 0)


HOSTILE = {
    "no archive": b"just bytes " * 1000,
    "a single byte": b"P",
    "an end without a directory": _end_of_directory(46, 0),
    "a directory said to be of 2 GiB": bytes(1000) + _end_of_directory((1 << 31) - 1, 0),
    "a directory that starts before the file": bytes(10) + _end_of_directory(5, 1 << 30),
    "a directory of nonsense": b"\xff" * 4000 + _end_of_directory(4000, 0, 80),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_an_archive_that_cannot_be_read_has_no_metadata(lab: Lab, content: bytes) -> None:
    lab.push(content)

    response = lab.metadata()

    assert response.status_code == 404
    assert "cannot be read" in response.text
    assert lab.meter.size <= FEW_BYTES


def test_a_wheel_that_could_not_be_read_is_not_announced_from_then_on(
    lab: Lab,
) -> None:
    """pip and uv give up where announced metadata cannot be had."""
    lab.push(HOSTILE["no archive"])
    assert lab.metadata().status_code == 404

    assert "core-metadata" not in _files(lab.index)[WHEEL]


@pytest.mark.parametrize("spare", [b"", b"\0" * 100_000], ids=["small", "big"])
def test_a_wheel_without_metadata_has_none(lab: Lab, tmp_path: Path, spare: bytes) -> None:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("my_pkg/__init__.py", spare)
    lab.push(path.read_bytes())

    assert lab.metadata().status_code == 404


def test_metadata_of_over_4_mib_is_not_read(lab: Lab, tmp_path: Path) -> None:
    lab.push(_wheel_bytes(tmp_path, 0, 0, METADATA + b"\n" * (5 * MEBIBYTE)))

    assert lab.metadata().status_code == 404
    assert lab.meter.size <= FEW_BYTES
