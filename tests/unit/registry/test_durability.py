"""What a loss of power may undo: nothing that an answer has acknowledged or an index refers to."""

import os
from pathlib import Path

import pytest

from pyoci_flask.registry import create_registry
from tests.unit.registry.client import INDEX, RegistryClient, digest_of, in_process, index


class Disk:
    """Follows what has reached the disk: the content of files, and the names in folders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: set[str] = set()
        """Files whose content is on the disk."""
        self.pending: dict[str, set[str]] = {}
        """Names that may be lost, by folder."""
        self.syncs = 0
        self._really = {"fsync": os.fsync, "rename": os.rename, "mkdir": os.mkdir}
        for name in self._really:
            monkeypatch.setattr(os, name, getattr(self, name))

    def fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._really["fsync"](descriptor)
        self.syncs += 1
        self.synced.add(str(path))
        self.pending.pop(str(path), None)

    def rename(self, source: Path, target: Path) -> None:
        assert str(source) in self.synced, f"{target.name} may be empty"
        if target.name == "index.json":
            mine = {
                folder: names
                for folder, names in self.pending.items()
                if Path(folder).is_relative_to(target.parent / "blobs")
            }
            assert not mine, "index.json refers to what may be lost"
        self._really["rename"](source, target)
        self.pending.setdefault(str(target.parent), set()).add(target.name)

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        self._really["mkdir"](path, mode)
        self.pending.setdefault(str(path.parent), set()).add(path.name)


@pytest.fixture
def disk(storage: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    create_registry(storage)
    return Disk(monkeypatch)


@pytest.fixture
def client(disk: Disk, storage: Path) -> RegistryClient:
    """A client that checks after each call that nothing acknowledged may be lost."""
    client = in_process(create_registry(storage, prepare=False))

    def check(*_: object, **__: object) -> None:
        assert disk.pending == {}

    client.session.hooks["response"].append(check)
    return client


def test_what_was_acknowledged_is_on_the_disk(client: RegistryClient, disk: Disk) -> None:
    child = client.push_image("acme/app", None, b"a layer")
    client.push_manifest("acme/app", index(child), "1.0")
    client.push_manifest("acme/app", index(), "1.0")  # the tag moves
    client.push_manifest("acme/app", index(subject={**_subject(child)}))
    client.request("DELETE", "/v2/acme/app/manifests/1.0")

    assert disk.syncs


def _subject(child: bytes) -> dict[str, object]:
    return {"mediaType": INDEX, "digest": digest_of(child), "size": len(child)}


def test_a_tag_waits_for_the_disk_as_rarely_as_possible(client: RegistryClient, disk: Disk) -> None:
    client.push_blob("acme/app", b"the first creates the repository")

    before = disk.syncs
    client.push_blob("acme/app", b"a blob")
    blob, before = disk.syncs - before, disk.syncs
    client.push_manifest("acme/app", index())
    by_digest, before = disk.syncs - before, disk.syncs
    client.push_manifest("acme/app", index(annotations={"a": "b"}), "1.0")
    by_tag = disk.syncs - before

    # A file and its folder; a manifest and its marker; a manifest and index.json.
    assert (blob, by_digest, by_tag) == (2, 4, 4)


def test_a_new_repository_waits_once_for_each_folder(client: RegistryClient, disk: Disk) -> None:
    client.begin_upload("acme/app")
    before = disk.syncs
    client.push_blob("acme/app", b"a blob")

    # The parents of new folders are the storage, acme, app and blobs. Then oci-layout, index.json
    # and their folder follow, and the blob and its folder.
    assert disk.syncs - before == 4 + 3 + 2
