"""The blobs of files that are deleted."""

import logging
from collections.abc import Sequence

from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.project import blobs_of
from pyoci_flask.index.repository import ProjectRepository
from pyoci_flask.oci.blobs import shows_blob
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import Descriptor, ImageManifest
from pyoci_flask.oci.reference import EMBEDDED, Digest
from pyoci_flask.oci.repository import get_manifest

logger = logging.getLogger("pyoci.index")


class FileBlobs:
    """Notes what files are stored in before they are deleted."""

    def __init__(self) -> None:
        self._first: tuple[RepositoryCaller, Digest] | None = None

    def note(self, repository: ProjectRepository, entries: Sequence[Descriptor]) -> None:
        """Note the blobs of files that are about to be deleted."""
        for entry in entries[:1]:
            digest, _ = blobs_of(entry)
            digest = digest or _layer(repository.caller, entry)
            if digest is not None and self._first is None:
                self._first = repository.caller, digest

    def can_be_read(self) -> bool:
        """Ask the registry whether the bytes of the first file can be read by their digest.

        The embedded registry is not asked: it keeps all of them until its own command is run.
        """
        if self._first is None:
            return False
        caller, digest = self._first
        return caller.repository.registry != EMBEDDED and shows_blob(caller, digest)


def _layer(caller: RepositoryCaller, entry: Descriptor) -> Digest | None:
    """Look up the digest of a file whose entry does not tell it, as those of old releases."""
    try:
        manifest = get_manifest(caller, entry.digest)
        layers = ImageManifest.parse(manifest.document).layers if manifest else ()
    except PyOCIError as error:
        logger.info("the blob of %s is not known: %s", entry.digest, error)
        return None
    return layers[0].digest if layers else None
