"""Upload sessions, which are files on disk so that any worker process can continue an upload.

Distribution specification, section Pushing blobs.
"""

import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from pyoci_flask.registry.errors import DistributionError, blob_upload_unknown, digest_invalid
from pyoci_flask.registry.files import FILE_MODE, regular_file, sync_folder
from pyoci_flask.registry.layout import ImageLayout
from pyoci_flask.registry.names import Digest, RepositoryName

STALE_SECONDS = 24 * 60 * 60
SWEEP_SECONDS = 60 * 60

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Upload:
    """An upload locked by this thread. `size` is the number of bytes that have arrived.

    `algorithm` is the algorithm of the final digest if this request finishes the upload.
    """

    def __init__(self, path: Path, file: FileIO, algorithm: str | None) -> None:
        self._path = path
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        # An upload that began with another request is hashed from disk when it is finished.
        self._hash = hashlib.new(algorithm) if algorithm and not self.size else None

    def append(self, chunk: bytes) -> None:
        """Append a piece of the content.

        If the piece cannot be written, discard the upload and raise the `OSError`.
        """
        if self._hash is not None:
            self._hash.update(chunk)
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.discard()
            raise
        self.size += len(chunk)

    def finish(self, digest: Digest, layout: ImageLayout) -> None:
        """Turn the upload into a blob of `layout`.

        If its digest is different, discard it and raise `DistributionError` (DIGEST_INVALID).
        """
        if self._digest(digest.algorithm) != digest:
            self.discard()
            raise digest_invalid(f"the content does not match {digest}")
        try:
            os.fsync(self._file.fileno())
            layout.create(digest)
            self._path.rename(layout.blob(digest))
        except FileNotFoundError:
            raise blob_upload_unknown() from None
        except OSError:
            self.discard()
            raise
        sync_folder(layout.blob(digest).parent)

    def _digest(self, algorithm: str) -> Digest:
        if self._hash is None:
            self._file.seek(0)
            return Digest(hashlib.file_digest(self._file, algorithm).hexdigest())
        return Digest(self._hash.hexdigest())

    def discard(self) -> None:
        """Remove the upload."""
        self._path.unlink(missing_ok=True)


class Uploads:
    """The uploads in progress. Each belongs to the repository for which it was begun."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next_sweep = 0.0

    def begin(self, name: RepositoryName) -> str:
        """Begin an upload and return its id."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_SECONDS
            for path in stale_files(self._folder):
                path.unlink(missing_ok=True)
        upload = str(uuid.uuid4())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(self._path(name, upload), flags, FILE_MODE))
        return upload

    def size(self, name: RepositoryName, upload: str) -> int:
        """Return the number of bytes that have arrived.

        Raises `DistributionError` (BLOB_UPLOAD_UNKNOWN) if the upload does not exist.
        """
        found = regular_file(self._path(name, upload))
        if found is None:
            raise blob_upload_unknown()
        return found.st_size

    @contextmanager
    def hold(
        self, name: RepositoryName, upload: str, algorithm: str | None = None
    ) -> Iterator[Upload]:
        """Lock an upload while it is continued or finished.

        `algorithm` is that of the final digest. Raises `DistributionError`: BLOB_UPLOAD_UNKNOWN if
        the upload does not exist, BLOB_UPLOAD_INVALID (409) if another request has locked it.
        """
        path = self._path(name, upload)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise blob_upload_unknown() from None
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DistributionError(
                    409, "BLOB_UPLOAD_INVALID", "another request is writing to this upload"
                ) from None
            # Another request may have turned this file into a blob before this one got the lock.
            found = regular_file(path)
            if found is None or found.st_ino != os.fstat(descriptor).st_ino:
                raise blob_upload_unknown()
            yield Upload(path, file, algorithm)

    def discard(self, name: RepositoryName, upload: str) -> None:
        """Remove an upload; raise `DistributionError` (BLOB_UPLOAD_UNKNOWN) if it is unknown."""
        try:
            self._path(name, upload).unlink()
        except FileNotFoundError:
            raise blob_upload_unknown() from None

    def _path(self, name: RepositoryName, upload: str) -> Path:
        if not _ID.fullmatch(upload):
            raise blob_upload_unknown()
        owner = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        return self._folder / f"{upload}.{owner}"


def stale_files(folder: Path) -> Iterator[Path]:
    """Yield the uploads and half-written files that have not been touched for a day."""
    oldest = time.time() - STALE_SECONDS
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < oldest:
                yield path
