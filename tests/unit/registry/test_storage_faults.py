"""A storage that has gone, or lost a part: never taken for one that does not have what is asked."""

from pathlib import Path

import pytest

from pyoci_flask.registry.layout import ImageLayout
from tests.unit.registry.client import (
    INDEX,
    RegistryClient,
    digest_of,
    error,
    index,
)

CONTENT = b"a layer"
MOUNT = f"/v2/acme/other/blobs/uploads/?mount={digest_of(CONTENT)}&from=acme/app"


@pytest.mark.parametrize("mount_point", [True, False])
def test_nothing_is_missing_in_a_storage_that_is_not_there(
    registry: RegistryClient, storage: Path, caplog: pytest.LogCaptureFixture, mount_point: bool
) -> None:
    registry.push_manifest("x", index(), "1.0")
    away = storage.rename(storage.with_suffix(".away"))
    if mount_point:
        storage.mkdir()

    for path in ("x/tags/list", "x/manifests/1.0", f"x/blobs/{digest_of(index())}", "_catalog"):
        response = registry.get(f"/v2/{path}")
        assert error(response) == (503, "UNKNOWN")
        assert "the registry's storage is not there" in response.text
        assert str(storage) not in response.text
    assert registry.put_manifest("x", "2.0", index(), INDEX).status_code == 503
    assert registry.request("POST", "/v2/x/blobs/uploads/").status_code == 503
    assert f"{storage / '.uploads'} is not there" in caplog.text
    assert not list(storage.glob("*"))

    if mount_point:
        storage.rmdir()
    away.rename(storage)
    assert registry.tags("x") == ["1.0"]


@pytest.mark.parametrize("lost", [["index.json"], ["index.json", "oci-layout", ".manifests"]])
def test_a_repository_that_has_lost_its_index_is_not_missing(
    registry: RegistryClient, storage: Path, caplog: pytest.LogCaptureFixture, lost: list[str]
) -> None:
    registry.push_manifest("x", index(), "1.0")
    registry.push_manifest("x/below", index(), "1.0")
    for name in lost:
        (storage / "x" / name).rename(storage / name)

    for path in ("tags/list", "manifests/1.0", f"blobs/{digest_of(index())}"):
        response = registry.get(f"/v2/x/{path}")
        assert error(response) == (500, "UNKNOWN")
        assert "lost its index.json" in response.text
        assert str(storage) not in response.text
    # A new index would hide what the lost one named, and let it be collected as garbage.
    assert registry.put_manifest("x", "2.0", index(), INDEX).status_code == 500
    assert f"{storage / 'x'} has blobs and no index.json" in caplog.text
    assert registry.tags("x/below") == ["1.0"]

    for name in lost:
        (storage / name).rename(storage / "x" / name)
    assert registry.tags("x") == ["1.0"]


def test_a_repository_whose_making_was_killed_is_missing_and_can_be_pushed_to(
    registry: RegistryClient, storage: Path
) -> None:
    (storage / "x" / "blobs" / "sha256").mkdir(parents=True)
    (storage / "x" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    assert error(registry.get("/v2/x/tags/list")) == (404, "NAME_UNKNOWN")
    registry.push_image("x", "1.0", b"layer")
    assert registry.tags("x") == ["1.0"]


def test_a_mount_puts_no_content_where_no_index_is_yet(
    registry: RegistryClient, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(layout: ImageLayout) -> None:
        raise RuntimeError(f"{layout.name} is not made")

    registry.push_blob("acme/app", CONTENT)
    with monkeypatch.context() as patched:
        patched.setattr(ImageLayout, "create", fail)
        assert registry.request("POST", MOUNT).status_code == 500

    assert not list(storage.glob("acme/other/blobs/sha256/*"))
    assert not list(storage.glob(".uploads/*"))
    for _ in range(2):
        assert registry.request("POST", MOUNT).status_code == 201
    assert registry.tags("acme/other") == []
    assert not list(storage.glob(".uploads/*"))
