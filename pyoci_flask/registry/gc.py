"""Garbage collection: removes what no tag leads to any more.

An index leads to its manifests, a manifest to its config and layers, anything to the manifests
that name it as their subject, and those to their subject.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyoci_flask.registry.documents import Descriptor
from pyoci_flask.registry.errors import RegistryError, name_unknown
from pyoci_flask.registry.files import sync_folder
from pyoci_flask.registry.layout import Repository
from pyoci_flask.registry.names import Digest, RepositoryName
from pyoci_flask.registry.storage import Storage
from pyoci_flask.registry.uploads import stale_files


@dataclass(frozen=True, slots=True)
class Freed:
    """What was removed: a number of files, and the bytes that the file system got back."""

    files: int
    size: int


def collect_repository(storage: Storage, name: RepositoryName, *, dry_run: bool) -> Freed:
    """Remove what no tag of a repository leads to; with `dry_run` only tell what would go.

    Raises `RegistryError` and removes nothing if a document cannot be read: what it leads to is
    not known then.
    """
    repository = storage.repository(name)
    with repository.changing(name_unknown(name)):
        kept = {digest.hex for digest in _reachable(repository)}
        garbage = [
            path
            for folder in repository.blob_folders
            for path in _content(folder)
            if path.name not in kept
        ]
        freed = _measure(garbage)
        if not dry_run:
            _forget(repository, kept)
            _remove(garbage)
    return freed


def collect_uploads(storage: Storage, *, dry_run: bool) -> Freed:
    """Remove the uploads that nobody has gone on with for a day."""
    garbage = list(stale_files(storage.uploads))
    freed = _measure(garbage)
    if not dry_run:
        _remove(garbage)
    return freed


def _reachable(repository: Repository) -> set[Digest]:
    index = repository.index()
    if index.foreign:
        raise RegistryError(
            500, "MANIFEST_INVALID", f"index.json lists {index.foreign} unknown kinds of manifest"
        )
    seen: set[tuple[Digest, bool]] = set()
    queue = list(index.manifests.values())
    while queue:
        descriptor = queue.pop()
        # The same bytes may be a layer here and a manifest there.
        visit = (descriptor.digest, descriptor.is_manifest)
        if visit not in seen:
            seen.add(visit)
            queue.extend(repository.referring(descriptor.digest))
            queue.extend(_leads_to(repository, descriptor))
    return {digest for digest, _ in seen}


def _leads_to(repository: Repository, descriptor: Descriptor) -> Iterator[Descriptor]:
    if not descriptor.is_manifest:
        return
    try:
        manifest = repository.manifest(descriptor)
    except FileNotFoundError:
        return
    yield from manifest.references
    subject = None if manifest.subject is None else repository.resolve(manifest.subject)
    if subject is not None:
        yield subject


def _forget(repository: Repository, kept: set[str]) -> None:
    """Remove the markers of manifests that go; before the blobs, as a delete does."""
    for path in _content(repository.markers):
        if path.name not in kept:
            path.unlink()
    for folder in _content(repository.referrers):
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _content(folder: Path) -> list[Path]:
    # A layout that another program made has blobs only, and an empty one not even these.
    return list(folder.iterdir()) if folder.is_dir() else []


def _measure(garbage: Iterable[Path]) -> Freed:
    found = [path.lstat() for path in garbage]
    # A blob that was mounted elsewhere is linked there, and its bytes stay.
    return Freed(len(found), sum(entry.st_size for entry in found if entry.st_nlink == 1))


def _remove(garbage: Iterable[Path]) -> None:
    folders = set()
    for path in garbage:
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)
