"""Delete a file, or a version with all its files.

Some registries can delete tags, some digests, some both, some neither. Blobs are left to the
registry's garbage collection, because another version may share them or an upload may rely on them.
"""

import logging
import time
from collections.abc import Sequence, Set
from dataclasses import replace

from pyoci_flask.errors import AlreadyExistsError, NotFoundError, PyOCIError, UnsupportedError
from pyoci_flask.index.file_blobs import FileBlobs
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import Filename
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import Candidates, ProjectRepository
from pyoci_flask.index.rewrite import rewrite_found
from pyoci_flask.index.versions import VersionIndex, hold_version, same_files
from pyoci_flask.oci.manifests import (
    Deletion,
    delete_manifest,
    get_manifest,
    refuse_denied_deletion,
)
from pyoci_flask.oci.model import Descriptor, ImageIndex
from pyoci_flask.oci.reference import Digest

logger = logging.getLogger("pyoci.index")

_READS = 6
_PAUSE = 0.2
"""Seconds before the second read of a deleted tag. Each further pause is this much longer."""


def delete_file(
    candidates: Candidates,
    filename: Filename,
    locks: VersionLocks,
    settle: float = 0.0,
    blobs: FileBlobs | None = None,
    deleted: list[File] | None = None,
) -> bool:
    """Delete a file. Deleting the last file of a version deletes the version.

    The file's blobs are noted in `blobs`. The file is added to `deleted` once it is no longer in
    the index. Return whether the registry deleted the file's manifest
    as well. If not, the file is still stored.

    Raises:
        NotFoundError: the version or the file does not exist.
        UnsupportedError: the registry does not support it; nothing was changed.
    """
    with hold_version(candidates, filename.version, locks) as parts:
        chosen = [
            (repository, found, [file.entry for file in files])
            for repository, found in parts
            if (files := same_files(found, filename))
        ]
        if not chosen:
            raise NotFoundError(
                f"version {filename.version} has no file {filename.text}",
                advice="Check the name of the file on the page of the project",
            )
        return _delete(chosen, settle, blobs, deleted)


def delete_version(
    candidates: Candidates,
    version: str,
    locks: VersionLocks,
    settle: float = 0.0,
    blobs: FileBlobs | None = None,
    deleted: list[File] | None = None,
) -> bool:
    """Delete a version with all its files.

    The files' blobs are noted in `blobs`. Files are added to `deleted` once they are no longer in
    the index, also if an error follows. Return whether the registry deleted the version. If not,
    the version was emptied and its files are still stored.

    Raises:
        NotFoundError: the version does not exist.
        UnsupportedError: the registry does not support it; nothing was changed.
    """
    with hold_version(candidates, version, locks) as parts:
        chosen = [(repository, found, found.index.manifests) for repository, found in parts]
        return _delete([part for part in chosen if part[2]] or chosen, settle, blobs, deleted)


def _delete(
    chosen: Sequence[tuple[ProjectRepository, VersionIndex, Sequence[Descriptor]]],
    settle: float,
    blobs: FileBlobs | None,
    deleted: list[File] | None,
) -> bool:
    """Delete the entries from each index; return whether all of their manifests are gone."""
    if blobs is not None:
        for repository, _, entries in chosen:
            blobs.note(repository, entries)
    gone = []
    for repository, found, entries in chosen:
        gone.append(_delete_entries(repository, found, entries, settle))
        if deleted is not None:
            deleted += [file for file in found.files if file.entry in entries]
    return all(gone)


def _delete_entries(
    repository: ProjectRepository, found: VersionIndex, entries: Sequence[Descriptor], settle: float
) -> bool:
    digests = {entry.digest for entry in entries}
    if all(one.digest in digests for one in found.index.manifests):
        return _delete_version(repository, found, settle)
    refuse_denied_deletion(repository.caller)
    _rewrite_without(digests, repository, found, settle)
    return _cleared(repository, entries)


def _delete_version(repository: ProjectRepository, found: VersionIndex, settle: float) -> bool:
    """Delete the tag first (Google requires this order), then the index, then the manifests in it.

    In the opposite order, a registry that refuses one of the calls would be left with a dangling
    tag.
    """
    caller = repository.caller
    tag_gone = delete_manifest(caller, found.tag) is Deletion.DONE
    if tag_gone or delete_manifest(caller, found.digest) is Deletion.DONE:
        cleared = _cleared(repository, found.index.manifests, found.digest if tag_gone else None)
        _wait_until_gone(repository, found)
        return cleared
    # Neither tag nor digest can be deleted (ghcr.io), so write an index without entries.
    if not found.index.manifests:
        raise NotFoundError(
            f"{repository.project} has no files in version {found.version}",
            advice="Check the version; there is nothing to delete",
        )
    _rewrite_without(None, repository, found, settle)
    return False


def _wait_until_gone(repository: ProjectRepository, found: VersionIndex) -> None:
    """Wait until the registry no longer shows the deleted tag.

    Pulp deletes a tag shortly after its response. An upload in between would restore the files.
    """
    for attempt in range(_READS):
        try:
            now = get_manifest(repository.caller, found.tag)
        except PyOCIError as error:
            logger.info("%s; cannot check whether the tag is gone", error)
            return
        if now is None or now.digest != found.digest:
            return
        time.sleep(_PAUSE * (attempt + 1))
    logger.warning(
        "%s:%s was deleted, but the registry still returns it",
        repository.caller.repository,
        found.tag,
    )


def _cleared(
    repository: ProjectRepository, entries: Sequence[Descriptor], index: Digest | None = None
) -> bool:
    """Delete the manifests of files that are no longer listed; return whether they are gone.

    Errors are only logged, because the files are no longer in the index and a second attempt would
    not find them. `index` is the index that listed them, if it may still exist without its tag.
    """
    try:
        if index is not None:
            delete_manifest(repository.caller, index)
        gone = [_gone(repository, entry) for entry in entries]
    except PyOCIError as error:
        logger.warning("deleted files are still stored in the registry: %s", error)
        return False
    return all(gone)


def _gone(repository: ProjectRepository, entry: Descriptor) -> bool:
    """Delete a file's manifest; return whether it is gone.

    A 404 may mean that the registry does not support DELETE at all (zuul-registry).
    """
    outcome = delete_manifest(repository.caller, entry.digest)
    if outcome is Deletion.MISSING:
        return get_manifest(repository.caller, entry.digest) is None
    return outcome is Deletion.DONE


def _rewrite_without(
    digests: Set[Digest] | None, repository: ProjectRepository, found: VersionIndex, settle: float
) -> None:
    """Remove the entries with these digests from an index, or all entries if `digests` is None."""

    def remove(now: VersionIndex | None) -> ImageIndex | None:
        entries = now.index.manifests if now else ()
        kept = tuple(one for one in entries if digests is not None and one.digest not in digests)
        return None if now is None or kept == entries else replace(now.index, manifests=kept)

    try:
        rewrite_found(repository, found, remove, settle)
    except (AlreadyExistsError, UnsupportedError) as error:
        raise UnsupportedError(
            f"this registry can neither delete nor change version {found.version}: {error}",
            advice="Delete it in the registry itself",
        ) from error
