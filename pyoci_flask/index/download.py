"""Download a file: find it by its name, and verify its content."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from pyoci_flask.common.outlet import Outlet
from pyoci_flask.errors import NotFoundError, RegistryError, TransferBrokenError
from pyoci_flask.index.names import Filename
from pyoci_flask.index.newest import Found
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import Candidates, ProjectRepository, no_version
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.index.versions import VersionFiles, VersionIndex, same_files
from pyoci_flask.oci.blobs import OpenBlob, blob_size, open_blob
from pyoci_flask.oci.manifests import get_manifest
from pyoci_flask.oci.model import ImageManifest, MalformedDocumentError
from pyoci_flask.oci.reference import Digest

_LARGE = 256 * 1024
"""Bytes. Smaller files are sent without an outlet."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that was found in a repository, and the digest of its blob."""

    repository: ProjectRepository
    file: File
    digest: Digest
    recalled: bool = False
    """Whether the file was found in the listing cache. If so, it may no longer exist."""

    def read_size(self) -> int:
        """Return the file's size in bytes. Ask the registry only if the file's entry lacks it."""
        if self.file.size is not None:
            return self.file.size
        return blob_size(self.repository.caller, self.digest)


def find_file(
    candidates: Candidates, filename: Filename, versions: VersionReader, *, fresh: bool = False
) -> StoredFile:
    """Find a file by its name.

    The registry is called if the cached version lacks the file, or if `fresh` is set. This takes
    one call, and one more if the index lacks the file's digest. It takes a few more if the version
    is spelled differently or the project has several repositories.

    Raises:
        NotFoundError: the version does not exist, or does not have the file.
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
        raise NotFoundError(
            f"version {filename.version} has no file {filename.text}",
            advice="Check the name of the file; the page of the project lists those that exist",
        )
    raise no_version(
        candidates[0].project, filename.version, f" in {candidates[0].caller.repository}"
    )


def _named(version: VersionFiles | VersionIndex, filename: Filename) -> list[File]:
    """Return the files that a filename may refer to, the most likely one first."""
    # The name of an older sdist may be spelled in several ways, but each version has only one.
    same = same_files(version, filename)
    return sorted(same, key=lambda file: file.filename.text != filename.text)


def _stored(
    repository: ProjectRepository, version: VersionFiles | VersionIndex, filename: Filename
) -> StoredFile:
    file = _named(version, filename)[0]
    return StoredFile(repository, file, file.digest or find_layer(repository, file))


def find_layer(repository: ProjectRepository, file: File) -> Digest:
    """Read the digest of a file from its manifest, if the index lacks it.

    Raises:
        NotFoundError: the manifest no longer exists.
        RegistryError: the manifest is not that of a package file.
    """
    manifest = get_manifest(repository.caller, file.entry.digest)
    if manifest is None:
        raise NotFoundError(
            f"the manifest of {file.filename.text} is gone from the registry",
            advice="Delete this version and publish it again",
        )
    try:
        layers = ImageManifest.parse(manifest.document).layers
    except MalformedDocumentError as error:
        raise RegistryError(
            f"the manifest of {file.filename.text} is invalid: {error}",
            advice="Delete this file and publish it again",
        ) from error
    if len(layers) != 1:
        raise RegistryError(
            f"the manifest of {file.filename.text} has {len(layers)} layers instead of one",
            advice="Delete this file and publish it again",
        )
    return layers[0].digest


def open_file(stored: StoredFile) -> OpenBlob:
    """Open the whole file for reading.

    Raises:
        NotFoundError: the blob no longer exists.
        RegistryError: the size in the registry differs from that in the index; nothing was sent.
    """
    return checked(stored, open_blob(stored.repository.caller, stored.digest))


def checked(stored: StoredFile, blob: OpenBlob) -> OpenBlob:
    """Return the blob if the registry states the same size as the index (see `open_file`)."""
    expected = stored.file.size
    if blob.size is not None and expected is not None and blob.size != expected:
        blob.close()
        raise RegistryError(
            f"{stored.file.filename.text} has {blob.size} bytes in the registry, not {expected}",
            advice="Delete this file and publish it again",
        )
    return blob


def verified(
    blob: OpenBlob,
    digest: Digest,
    size: int,
    *,
    hashed: bool = True,
    outlet: Outlet | None = None,
    whole: Callable[[], object] | None = None,
) -> Iterator[bytes]:
    """Yield the whole blob and check its size and, if `hashed`, its digest; then call `whole`.

    The last chunk is yielded only after the check, so a client that counts bytes never gets a
    complete but wrong file. If there is an `outlet`, most bytes are sent to it instead.

    Raises:
        TransferBrokenError: the blob is too short or too long, or does not match the digest.
    """
    sha256, held = hashlib.sha256(), b""
    look = sha256.update if hashed else None
    direct = outlet if size >= _LARGE else None
    with blob:
        for chunk in blob.chunks(size - 1, direct, look):
            if held or not chunk:
                yield held
            held = chunk
            if look is not None:
                look(chunk)
            if blob.position > size:
                break
    if blob.position != size:
        raise TransferBrokenError(
            f"the registry sent {blob.position} bytes for {digest}, whose size is {size}",
            advice="Try again, and check the storage of the registry if the problem persists",
        )
    if hashed and sha256.hexdigest() != digest.hex:
        raise TransferBrokenError(
            f"the bytes that the registry sent do not match {digest}",
            advice="Do not use this file; try again, and check the storage of the "
            "registry if the problem persists",
        )
    if whole is not None:
        whole()
    if held:
        yield held
