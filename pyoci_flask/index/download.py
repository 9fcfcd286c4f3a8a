"""Download: from a filename to its verified bytes."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from pyoci_flask.errors import NotFoundError, RegistryError, TransferBrokenError
from pyoci_flask.index.names import Filename
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import Candidates, ProjectRepository
from pyoci_flask.index.reader import Found, VersionReader
from pyoci_flask.index.versions import VersionFiles, VersionIndex, same_files
from pyoci_flask.oci.blobs import OpenBlob, blob_size, open_blob
from pyoci_flask.oci.manifests import get_manifest
from pyoci_flask.oci.model import ImageManifest, MalformedDocumentError
from pyoci_flask.oci.reference import Digest


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that was found in a repository, and the digest of its blob."""

    repository: ProjectRepository
    file: File
    digest: Digest
    recalled: bool = False
    """Whether it comes from the listing cache, and so may no longer exist."""

    def read_size(self) -> int:
        """Return the bytes of the file; ask the registry only if its entry does not say."""
        if self.file.size is not None:
            return self.file.size
        return blob_size(self.repository.caller, self.digest)


def find_file(
    candidates: Candidates, filename: Filename, versions: VersionReader, *, fresh: bool = False
) -> StoredFile:
    """Find a file by its name.

    The registry is asked if what is cached of the version lacks the file, or if `fresh` is set:
    one call, and one more if the index lacks the file's digest; a few more if the version is
    spelled differently or the project has several repositories.

    Raises:
        NotFoundError: there is no such version, or no such file in it.
    """
    parts: list[Found] = []

    def has_file(part: Found) -> bool:
        parts.append(part)
        return bool(_named(part[1], filename))

    if not fresh:
        recalled = versions.recall(candidates, filename.version, has_file)
        with suppress(NotFoundError):  # its manifest is gone
            if recalled is not None:
                return replace(_stored(*recalled, filename), recalled=True)
        parts.clear()
    found = versions.find(candidates, filename.version, has_file)
    if found is not None:
        return _stored(*found, filename)
    if parts:
        raise NotFoundError(f"version {filename.version} has no file {filename.text}")
    raise NotFoundError(
        f"{candidates[0].project} has no version {filename.version} in "
        f"{candidates[0].caller.repository}"
    )


def _named(version: VersionFiles | VersionIndex, filename: Filename) -> list[File]:
    """Return the files that a filename may mean, the most likely one first."""
    # An older sdist's name may be spelled in several ways; within a version it is the only one.
    same = same_files(version, filename)
    return sorted(same, key=lambda file: file.filename.text != filename.text)


def _stored(
    repository: ProjectRepository, version: VersionFiles | VersionIndex, filename: Filename
) -> StoredFile:
    file = _named(version, filename)[0]
    return StoredFile(repository, file, file.digest or find_layer(repository, file))


def find_layer(repository: ProjectRepository, file: File) -> Digest:
    """Read the digest of a file from its manifest, for an index that lacks it.

    Raises:
        NotFoundError: the manifest is gone.
        RegistryError: it is not the manifest of a package file.
    """
    manifest = get_manifest(repository.caller, file.entry.digest)
    if manifest is None:
        raise NotFoundError(f"the manifest of {file.filename.text} is gone from the registry")
    try:
        layers = ImageManifest.parse(manifest.document).layers
    except MalformedDocumentError as error:
        raise RegistryError(f"{file.filename.text} is stored with {error}") from error
    if len(layers) != 1:
        raise RegistryError(f"{file.filename.text} is stored in {len(layers)} layers, not one")
    return layers[0].digest


def open_file(stored: StoredFile) -> OpenBlob:
    """Open the whole file for reading.

    Raises:
        NotFoundError: its bytes are gone.
        RegistryError: the registry has another size than the index; nothing was sent yet.
    """
    return checked(stored, open_blob(stored.repository.caller, stored.digest))


def checked(stored: StoredFile, blob: OpenBlob) -> OpenBlob:
    """Compare the size that the registry states with that of the index; see `open_file`."""
    expected = stored.file.size
    if blob.size is not None and expected is not None and blob.size != expected:
        blob.close()
        raise RegistryError(
            f"{stored.file.filename.text} has {blob.size} bytes in the registry, not {expected}"
        )
    return blob


def verified(blob: OpenBlob, digest: Digest, size: int) -> Iterator[bytes]:
    """Yield the whole blob and check its digest.

    The last chunk is yielded only after the check: a client that counts bytes never has a complete
    file that is wrong.

    Raises:
        TransferBrokenError: it is too short, too long, or does not have this digest.
    """
    sha256, received, held = hashlib.sha256(), 0, b""
    with blob:
        for chunk in blob.chunks():
            if held:
                yield held
            held = chunk
            sha256.update(chunk)
            received += len(chunk)
            if received > size:
                break
    if received != size:
        raise TransferBrokenError(
            f"the registry sent {received} bytes of {digest}, which has {size}"
        )
    if sha256.hexdigest() != digest.hex:
        raise TransferBrokenError(f"the bytes that the registry sent do not match {digest}")
    if held:
        yield held
