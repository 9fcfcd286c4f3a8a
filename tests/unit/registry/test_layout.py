import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pyoci_flask.registry import create_registry
from tests.unit.registry.client import (
    INDEX,
    MANIFEST,
    RegistryClient,
    descriptor,
    digest_of,
    error,
    in_process,
    index,
    manifest,
)


def hex_of(content: bytes) -> str:
    return digest_of(content).removeprefix("sha256:")


def write_layout(folder: Path, entries: Sequence[object], *contents: bytes) -> None:
    """An image layout as another program would write it."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    document = {"schemaVersion": 2, "manifests": entries}
    (folder / "index.json").write_text(json.dumps(document))
    for content in contents:
        (folder / "blobs" / "sha256" / hex_of(content)).write_bytes(content)


def tagged(content: bytes, media_type: str, tag: str) -> dict[str, object]:
    name = {"org.opencontainers.image.ref.name": tag}
    return {**descriptor(content, media_type), "annotations": name}


def test_a_repository_is_an_image_layout(registry: RegistryClient, storage: Path) -> None:
    child = registry.push_image("acme/app", None, b"layer")
    registry.push_manifest("acme/app", index(child), "1.0")

    folder = storage / "acme" / "app"
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((folder / "index.json").read_text()) == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [tagged(index(child), INDEX, "1.0")],
    }
    blobs = {path.name: path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}
    contents = (b"{}", b"layer", child, index(child))
    assert blobs == {hex_of(content): content for content in contents}


def test_repositories_lie_below_one_another(registry: RegistryClient, storage: Path) -> None:
    for name in ("a", "a/b", "a/blobs", "a/index.json"):
        registry.push_image(name, "1.0", name.encode())

    for folder in ("a", "a/b", "a/_blobs", "a/_index.json"):
        assert (storage / folder / "oci-layout").is_file()
    for name in ("a", "a/b", "a/blobs", "a/index.json"):
        blob = f"/v2/{name}/blobs/{digest_of(name.encode())}"
        assert registry.get(blob).content == name.encode()


def test_a_layout_that_another_program_wrote_is_served(
    registry: RegistryClient, storage: Path
) -> None:
    child, layer = manifest(b"layer"), b"layer"
    inner = index(child)
    outer = json.dumps(json.loads(index()) | {"manifests": [descriptor(inner, INDEX)]}).encode()
    entries = [
        tagged(outer, INDEX, "1.0"),
        descriptor(manifest(), MANIFEST),
        {**descriptor(manifest(), MANIFEST), "annotations": {"other": "x"}},
        "nonsense",
    ]
    write_layout(storage / "x", entries, outer, inner, child, layer, b"{}", manifest())

    assert registry.tags("x") == ["1.0"]
    assert registry.get("/v2/_catalog").json() == {"repositories": ["x"]}
    for content in (outer, inner, child, manifest()):
        response = registry.get(f"/v2/x/manifests/{digest_of(content)}")
        assert (response.status_code, response.content) == (200, content)


def test_a_layout_that_another_program_wrote_can_be_pushed_to(
    registry: RegistryClient, storage: Path
) -> None:
    write_layout(storage / "x", [tagged(index(), INDEX, "old")], index())

    pushed = registry.push_image("x", "new", b"layer")

    assert registry.tags("x") == ["new", "old"]
    assert registry.get("/v2/x/manifests/new").content == pushed
    assert registry.request("DELETE", "/v2/x/manifests/old").status_code == 202
    assert registry.tags("x") == ["new"]


@pytest.fixture
def nested(storage: Path) -> list[bytes]:
    """A layout of another program: tag 1.0 names an index of an index of a manifest."""
    child = manifest(b"layer")
    inner = index(child)
    outer = json.dumps(json.loads(index()) | {"manifests": [descriptor(inner, INDEX)]}).encode()
    write_layout(storage / "x", [tagged(outer, INDEX, "1.0")], outer, inner, child, b"layer", b"{}")
    return [outer, inner, child]


@pytest.mark.parametrize("moved", [True, False])
def test_manifests_of_another_programs_layout_outlive_their_tag(
    registry: RegistryClient, nested: list[bytes], moved: bool
) -> None:
    if moved:
        registry.push_image("x", "1.0", b"other")
    else:
        assert registry.request("DELETE", "/v2/x/manifests/1.0").status_code == 202

    for content in nested:
        answer = registry.get(f"/v2/x/manifests/{digest_of(content)}")
        assert (answer.status_code, answer.content) == (200, content)
    for content in nested:
        address = f"/v2/x/manifests/{digest_of(content)}"
        assert registry.request("DELETE", address).status_code == 202
        assert error(registry.get(address)) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_manifests_of_another_programs_layout_are_deleted_one_at_a_time(
    registry: RegistryClient, nested: list[bytes], deleted: int
) -> None:
    address = f"/v2/x/manifests/{digest_of(nested[deleted])}"
    assert registry.request("DELETE", address).status_code == 202

    for number, content in enumerate(nested):
        status = registry.get(f"/v2/x/manifests/{digest_of(content)}").status_code
        assert status == (404 if number == deleted else 200)


def test_a_manifest_that_a_layout_names_without_its_content_is_not_made_known(
    registry: RegistryClient, storage: Path
) -> None:
    child = manifest(b"layer")
    write_layout(storage / "x", [tagged(index(child), INDEX, "1.0")], index(child))

    assert registry.request("DELETE", "/v2/x/manifests/1.0").status_code == 202

    address = f"/v2/x/manifests/{digest_of(child)}"
    assert error(registry.request("DELETE", address)) == (404, "MANIFEST_UNKNOWN")


def test_a_tag_in_a_layout_whose_manifest_is_missing_is_unknown(
    registry: RegistryClient, storage: Path
) -> None:
    write_layout(storage / "x", [tagged(index(), INDEX, "1.0")])

    assert error(registry.get("/v2/x/manifests/1.0")) == (404, "MANIFEST_UNKNOWN")
    assert registry.request("DELETE", "/v2/x/manifests/1.0").status_code == 202


def test_what_another_program_keeps_in_the_index_stays(
    registry: RegistryClient, storage: Path
) -> None:
    foreign = {"mediaType": "application/x", "digest": "sha512:" + "a" * 128, "size": 1}
    write_layout(storage / "x", [foreign])

    registry.push_manifest("x", index(), "1.0")

    stored = json.loads((storage / "x" / "index.json").read_text())
    assert stored["manifests"] == [foreign, tagged(index(), INDEX, "1.0")]


def test_a_damaged_index_is_a_fault_of_the_server(
    registry: RegistryClient, storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.push_manifest("x", index(), "1.0")
    (storage / "x" / "index.json").write_text("{")

    response = registry.get("/v2/x/tags/list")

    assert error(response) == (500, "UNKNOWN")
    assert "damaged: its index.json is not a JSON document" in response.text
    [record] = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == ("GET /v2/x/tags/list failed: index.json is not a JSON document")


def test_another_workers_tags_show_at_once(registry: RegistryClient, storage: Path) -> None:
    other = in_process(create_registry(storage))

    for number in range(50):
        pushed = index(annotations={"n": str(number)})
        other.push_manifest("x", pushed, "same")

        assert registry.get("/v2/x/manifests/same").content == pushed


def test_a_link_out_of_the_storage_is_not_followed(registry: RegistryClient, storage: Path) -> None:
    outside = storage.parent / "outside"
    write_layout(outside, [tagged(index(), INDEX, "1.0")], index(), b"secret")
    (storage / "repository").symlink_to(outside)
    inside = storage / "blobs-linked"
    write_layout(inside, [], b"own")
    (inside / "blobs" / "sha256" / hex_of(b"own")).unlink()
    (inside / "blobs" / "sha256").rmdir()
    (inside / "blobs" / "sha256").symlink_to(outside / "blobs" / "sha256")
    file = storage / "file-linked"
    write_layout(file, [])
    secret = file / "blobs" / "sha256" / hex_of(b"secret")
    secret.symlink_to(outside / "blobs" / "sha256" / hex_of(b"secret"))

    for name in ("repository", "blobs-linked", "file-linked"):
        response = registry.get(f"/v2/{name}/blobs/{digest_of(b'secret')}")
        assert response.status_code == 404
        pushed = registry.request("PUT", f"/v2/{name}/manifests/2.0", index(), {})
        assert (pushed.status_code == 201) == (name == "file-linked")
    assert len(list((outside / "blobs" / "sha256").iterdir())) == 2


def test_what_is_no_regular_file_is_no_blob(registry: RegistryClient, storage: Path) -> None:
    registry.push_blob("x", b"other")
    blobs = storage / "x" / "blobs" / "sha256"
    (blobs / hex_of(b"folder")).mkdir()
    os.mkfifo(blobs / hex_of(b"pipe"))

    for content in (b"folder", b"pipe"):
        address = f"/v2/x/blobs/{digest_of(content)}"
        assert error(registry.get(address)) == (404, "BLOB_UNKNOWN")
