"""Garbage collection: removes content that cannot be reached from any tag.

An index leads to its manifests, a manifest leads to its config, layers and subject, and any content
leads to the manifests whose subject it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyoci_flask.registry.documents import Descriptor
from pyoci_flask.registry.errors import manifest_invalid, name_unknown
from pyoci_flask.registry.files import folder_content, has_content, sync_folder
from pyoci_flask.registry.layout import ImageLayout
from pyoci_flask.registry.names import Digest, RepositoryName
from pyoci_flask.registry.storage import Storage
from pyoci_flask.registry.uploads import stale_files


@dataclass(frozen=True, slots=True)
class Freed:
    """The number of files that were removed, and the bytes that this freed on the disk."""

    files: int
    size: int


def collect_repository(storage: Storage, name: RepositoryName, *, dry_run: bool) -> Freed:
    """Remove content that no tag of a repository leads to; if `dry_run` is true, only measure it.

    If a document cannot be read, raises `DistributionError` and removes nothing, because it is not
    known what the document refers to.
    """
    layout = storage.layout(name)
    with layout.changing(name_unknown(name)):
        kept = {digest.hex for digest in _reachable(layout)}
        garbage = [
            path
            for folder in layout.blob_folders
            for path in folder_content(folder)
            if path.name not in kept
        ]
        if not dry_run:
            _forget(layout, kept)
        return _remove(garbage, dry_run=dry_run)


def collect_uploads(storage: Storage, *, dry_run: bool) -> Freed:
    """Remove uploads that have not been continued for a day."""
    return _remove(list(stale_files(storage.uploads)), dry_run=dry_run)


def _reachable(layout: ImageLayout) -> set[Digest]:
    index = layout.read_index()
    if index.foreign:
        raise manifest_invalid(
            f"index.json lists {index.foreign} entries of an unknown type", status=500
        )
    seen: set[tuple[Digest, bool]] = set()
    queue = list(index.manifests.values())
    while queue:
        descriptor = queue.pop()
        # The same bytes may be used as a layer and as a manifest.
        visit = (descriptor.digest, descriptor.is_manifest)
        if visit not in seen:
            seen.add(visit)
            queue.extend(layout.referring(descriptor.digest))
            queue.extend(_leads_to(layout, descriptor))
    return {digest for digest, _ in seen}


def _leads_to(layout: ImageLayout, descriptor: Descriptor) -> Iterator[Descriptor]:
    if not descriptor.is_manifest:
        return
    try:
        manifest = layout.read_manifest(descriptor)
    except FileNotFoundError:
        return
    yield from manifest.references
    subject = None if manifest.subject is None else layout.resolve(manifest.subject)
    if subject is not None:
        yield subject


def _forget(layout: ImageLayout, kept: set[str]) -> None:
    """Remove the markers of manifests that are not kept, before their blobs are removed."""
    for path in folder_content(layout.markers):
        if path.name not in kept:
            path.unlink()
    for folder in folder_content(layout.referrers):
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
        if not has_content(folder):
            folder.rmdir()


def _remove(garbage: Sequence[Path], *, dry_run: bool) -> Freed:
    found = [path.lstat() for path in garbage]
    if not dry_run:
        for path in garbage:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in garbage}:
            sync_folder(folder)
    # A blob that was mounted in another repository is linked there, so its bytes are not freed.
    return Freed(len(found), sum(entry.st_size for entry in found if entry.st_nlink == 1))
