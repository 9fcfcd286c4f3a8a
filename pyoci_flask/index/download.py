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
from pyoci_flask.index.version_index import VersionFiles, VersionIndex
from pyoci_flask.oci.blobs import OpenBlob, blob_size, open_blob
from pyoci_flask.oci.model import ImageManifest, MalformedDocumentError
from pyoci_flask.oci.reference import Digest
from pyoci_flask.oci.repository import get_manifest


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file found in a repository, and the digest that its blob is addressed by."""

    repository: ProjectRepository
    file: File
    digest: Digest
    recalled: bool = False
    """Whether it comes from the listing cache, and may be gone."""

    def size(self) -> int:
        """Bytes; asks the registry only where the entry does not tell."""
        if self.file.size is not None:
            return self.file.size
        return blob_size(self.repository.caller, self.digest)


def find_file(
    candidates: Candidates, filename: Filename, versions: VersionReader, *, fresh: bool = False
) -> StoredFile:
    """Look a file up by its name.

    What is remembered of its version is asked for anew where it lacks the file, or where `fresh`
    says so. One call, and one more for files of which the index does not have the digest; a few
    more where the version is spelled otherwise or the project has several repositories.

    Raises:
        NotFoundError: there is no such version, or no such file in it.
    """
    parts: list[Found] = []

    def has_file(part: Found) -> bool:
        parts.append(part)
        return _choose(part[1], filename) is not None

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


def _choose(version: VersionFiles | VersionIndex, filename: Filename) -> File | None:
    same = [file for file in version.files if file.filename.text == filename.text]
    # An older sdist's name may be spelled in several ways; within a version it is the only one.
    same += [file for file in version.files if file.filename.architecture == filename.architecture]
    return same[0] if same else None


def _stored(
    repository: ProjectRepository, version: VersionFiles | VersionIndex, filename: Filename
) -> StoredFile:
    file = _choose(version, filename)
    if file is None:
        raise NotFoundError(f"version {filename.version} has no file {filename.text}")
    return StoredFile(repository, file, file.digest or find_layer(repository, file))


def find_layer(repository: ProjectRepository, file: File) -> Digest:
    """Look the digest of a file up in its manifest, where the index lacks it.

    Raises:
        NotFoundError: the manifest is gone.
        RegistryError: it is not of a package.
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
    """Begin to read the whole file.

    Raises:
        NotFoundError: its bytes are gone.
        RegistryError: the registry has another size than the index; nothing was sent yet.
    """
    return checked(stored, open_blob(stored.repository.caller, stored.digest))


def checked(stored: StoredFile, blob: OpenBlob) -> OpenBlob:
    """Hold the size that the registry tells against that of the index; see `open_file`."""
    expected = stored.file.size
    if blob.size is not None and expected is not None and blob.size != expected:
        blob.close()
        raise RegistryError(
            f"{stored.file.filename.text} has {blob.size} bytes in the registry, not {expected}"
        )
    return blob


def verified(blob: OpenBlob, digest: Digest, size: int) -> Iterator[bytes]:
    """Stream the whole blob, hashing on the way.

    One chunk is always held back, so that a client that counts never has the whole before it is
    known to be right.

    Raises:
        TransferBrokenError: it ended early, went on too long, or is not what its digest names.
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
            f"{received} bytes of {digest} came from the registry, not {size}"
        )
    if sha256.hexdigest() != digest.hex:
        raise TransferBrokenError(f"the registry sent other bytes than those of {digest}")
    if held:
        yield held
