"""The blobs of files that are deleted."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyoci_flask.errors import PyOCIError, RegistryTimeoutError
from pyoci_flask.index.project import blobs_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.references import referenced
from pyoci_flask.oci.blobs import delete_blob, shows_blob
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import Deletion, get_manifest
from pyoci_flask.oci.model import EMPTY_CONFIG, Descriptor, ImageManifest
from pyoci_flask.oci.reference import EMBEDDED, Digest

logger = logging.getLogger("pyoci.index")

_SECONDS = 60.0
"""For reading what names blobs: uploads to the repository wait meanwhile."""
_EMPTY = Digest.of(EMPTY_CONFIG)


@dataclass(frozen=True, slots=True)
class DeletedBlobs:
    """What became of the blobs of deleted files."""

    found: int | None
    """How many they were; None = that could not be read, and none was deleted."""
    deleted: int = 0
    kept: int = 0
    """Those that something else names."""
    fault: str | None = None
    """Why the others were not deleted."""


class FileBlobs:
    """Notes what files are stored in before they are deleted, and deletes it where asked to."""

    def __init__(self, *, every: bool = False) -> None:
        """With `every`, note all blobs, for `delete`; else just one, for `can_be_read`."""
        self._every = every
        self._blobs: list[tuple[RepositoryCaller, Digest]] = []
        self._fault: str | None = None
        self._limit = time.monotonic() + _SECONDS

    def note(self, repository: ProjectRepository, entries: Sequence[Descriptor]) -> None:
        """Note the blobs of files that are about to be deleted."""
        caller = repository.caller
        try:
            for entry in entries if self._every else entries[:1]:
                self._note(caller, entry)
        except PyOCIError as error:
            logger.info("the blobs of %s are not known: %s", caller.repository, error)
            self._fault = str(error)

    def _note(self, caller: RepositoryCaller, entry: Descriptor) -> None:
        digest, metadata = blobs_of(entry)
        if digest is None or (self._every and metadata is None):
            if time.monotonic() > self._limit:
                raise RegistryTimeoutError("reading the manifests of the files took too long")
            found = list(_read_blobs(caller, entry))
        else:
            found = [digest, *([metadata] if metadata else [])]
        self._blobs += [(caller, blob) for blob in found if blob != _EMPTY]

    def can_be_read(self) -> bool:
        """Ask the registry whether the bytes of the first file can be read by their digest.

        The embedded registry is not asked: it keeps all of them until its own command is run.
        """
        if not self._blobs:
            return False
        caller, digest = self._blobs[0]
        return caller.repository.registry != EMBEDDED and shows_blob(caller, digest)

    def delete(self) -> DeletedBlobs:
        """Delete the blobs that nothing names any more, once the manifests are gone.

        Hold the repository's blobs alone. Where not all that may name them can be read, none is
        deleted.
        """
        if self._fault is not None:
            return DeletedBlobs(None, fault=self._fault)
        by_place: dict[str, tuple[RepositoryCaller, set[Digest]]] = {}
        for caller, digest in self._blobs:
            by_place.setdefault(caller.base, (caller, set()))[1].add(digest)
        found = sum(len(digests) for _, digests in by_place.values())
        deleted = kept = 0
        try:
            for caller, digests in by_place.values():
                named = referenced(caller, digests, self._limit)
                kept += len(named)
                for digest in sorted(digests - named):
                    if delete_blob(caller, digest) is Deletion.UNSUPPORTED:
                        fault = "this registry does not delete blobs"
                        return DeletedBlobs(found, deleted, kept, fault)
                    deleted += 1
        except PyOCIError as error:
            logger.warning("blobs of deleted files stay in the registry: %s", error)
            return DeletedBlobs(found, deleted, kept, str(error))
        return DeletedBlobs(found, deleted, kept)


def _read_blobs(caller: RepositoryCaller, entry: Descriptor) -> Iterator[Digest]:
    """Read the digests of a file and its config in its manifest, the file first."""
    manifest = get_manifest(caller, entry.digest)
    if manifest is not None:
        parsed = ImageManifest.parse(manifest.document)
        yield from (layer.digest for layer in parsed.layers)
        yield parsed.config.digest
