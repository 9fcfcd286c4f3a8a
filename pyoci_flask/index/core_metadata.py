"""Read the core metadata of stored wheels (PEP 658) without downloading the wheels.

For wheels that were published by this server, METADATA is in a separate blob. For other wheels,
range requests read only the parts of the archive that lead to METADATA.
"""

import io
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import IO, cast

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import NotFoundError, PyOCIError, TransferBrokenError
from pyoci_flask.index.archive import (
    METADATA_LIMIT,
    BrokenArchiveError,
    DamagedError,
    read_metadata,
)
from pyoci_flask.index.download import StoredFile, find_layer
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.store import Store
from pyoci_flask.oci.blobs import open_blob
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import Digest

_WINDOW = 64 * 1024
"""Bytes fetched by one request. For most wheels, this covers the end with METADATA in it."""
_FETCHED_LIMIT = 26 * 1024 * 1024
"""Maximum bytes fetched of one wheel: enough for a directory of 16 MiB and METADATA of 8 MiB."""
_CACHE_BYTES = 16 * 1024 * 1024
_REMEMBERED = 10_000
"""Maximum number of entries in each memory."""
_MOST_BYTES = 4 * 1024 * 1024
"""Maximum size of each memory, in bytes, except for the memory of core metadata."""
_UNREADABLE_FOR = 30 * 24 * 60 * 60.0
"""Seconds for which the store keeps the list of a repository's unreadable wheels."""
_UNREADABLE = "unreadable wheels\n"
"""Prefix of this list's key in the store."""
_ASK_AGAIN = 3600.0
"""Seconds until a registry that did not support range requests is probed again."""
_PROBE_AGAIN = 60.0
"""Seconds until a failed probe is repeated. A failure says nothing about range support."""


@dataclass(frozen=True, slots=True)
class CoreMetadata:
    """A core metadata file and its digest."""

    content: bytes
    digest: Digest


class CoreMetadataReader:
    """Reads core metadata. Remembers what it read, and which registries support ranges."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, store: Store | None = None
    ) -> None:
        """Use `store` to share with other processes which wheels cannot be read."""
        self._store = store
        self._unreadable: Memory[tuple[str, Digest], bool] = Memory(
            entries=_REMEMBERED, max_bytes=_MOST_BYTES, clock=clock
        )
        self._ranges: Memory[str, bool] = Memory(
            entries=_REMEMBERED, max_bytes=_MOST_BYTES, clock=clock
        )
        """Whether each registry supports range requests, by the registry's origin."""
        self._failed: Memory[tuple[str, Digest | None], bool] = Memory(
            entries=_REMEMBERED, max_bytes=_MOST_BYTES, ttl=_PROBE_AGAIN, clock=clock
        )
        """Wheels whose probe failed. If a digest is None, no wheel of the repository is probed."""
        self._read: Memory[tuple[str, Digest], CoreMetadata] = Memory(
            entries=_REMEMBERED,
            max_bytes=_CACHE_BYTES,
            size=lambda found: len(found.content),
            clock=clock,
        )

    def read(self, stored: StoredFile) -> CoreMetadata:
        """Return the core metadata of a wheel. The caller's access must have been proven already.

        Raises:
            NotFoundError: the file is not a wheel or is damaged, or the registry does not support
                range requests.
        """
        file, caller = stored.file, stored.repository.caller
        if not file.filename.is_wheel:
            raise NotFoundError(
                f"{file.filename.text} is not a wheel; core metadata is available only for wheels",
                advice="Ask for the metadata of a wheel, or download the file",
            )
        if file.core_metadata is not None:
            return CoreMetadata(stored_metadata(caller, file.core_metadata), file.core_metadata)
        key = (caller.repository.location, stored.digest)
        known = self._read.get(key)
        if known is not None:
            return known
        remote = cast("IO[bytes]", _RemoteFile(caller, stored.digest, stored.read_size()))
        try:
            content = read_metadata(remote, file.filename, any_method=True)
        except BrokenArchiveError as error:
            if isinstance(error.__cause__, _NoRangesError):
                # The registry is at fault, not the wheel, although it supported ranges before.
                self._ranges.put(caller.repository.registry.origin, value=False, ttl=_ASK_AGAIN)
                raise NotFoundError(f"{error}", advice="Download the whole file instead") from error
            self._add_unreadable(caller.repository.location, file.entry.digest)
            raise NotFoundError(
                f"the core metadata of {file.filename.text} cannot be read: {error}",
                advice="Download the whole file instead",
            ) from error
        found = CoreMetadata(content, Digest.of(content))
        self._read.put(key, found)
        return found

    def announced(self, repository: ProjectRepository, files: Sequence[File]) -> frozenset[str]:
        """Return the names of wheels whose metadata is not stored, but can certainly be read.

        Clients give up if announced metadata is missing, so the registry must be known to support
        range requests. If that is not known yet, this sends one probe.
        """
        name = repository.caller.repository.location
        if (name, None) in self._failed:
            return frozenset()
        wanted = [
            file
            for file in files
            if file.core_metadata is None
            and file.filename.is_wheel
            and (name, file.entry.digest) not in self._failed
        ]
        if wanted:
            shared = self._shared_unreadable(name)
            wanted = [
                file
                for file in wanted
                if file.entry.digest.text not in shared
                and (name, file.entry.digest) not in self._unreadable
            ]
        if not wanted or not self._answers_ranges(repository, wanted[0]):
            return frozenset()
        return frozenset(file.filename.text for file in wanted)

    def _answers_ranges(self, repository: ProjectRepository, file: File) -> bool:
        origin = repository.caller.repository.registry.origin
        known = self._ranges.get(origin)
        if known is not None:
            return known
        try:
            digest = file.digest or find_layer(repository, file)
            with open_blob(repository.caller, digest, first=1, last=2) as blob:
                answers = blob.start == 1
        except PyOCIError as error:
            # This does not show whether ranges are supported, and the page must not fail. If this
            # wheel is gone, the next one can be probed. Any other error would occur for all wheels.
            gone = file.entry.digest if isinstance(error, NotFoundError) else None
            self._failed.put((repository.caller.repository.location, gone), value=True)
            return False
        self._ranges.put(origin, answers, ttl=None if answers else _ASK_AGAIN)
        return answers

    def _add_unreadable(self, repository: str, manifest: Digest) -> None:
        """Remember an unreadable wheel by its manifest's digest, so the entry remains valid."""
        self._unreadable.put((repository, manifest), value=True)
        if self._store is not None:
            # If two processes do this at the same time, one may be left out and is read again.
            known = [*self._shared_unreadable(repository)][1 - _REMEMBERED :]
            value = json.dumps([*known, manifest.text]).encode()
            self._store.set_many({_UNREADABLE + repository: value}, _UNREADABLE_FOR)

    def _shared_unreadable(self, repository: str) -> Collection[str]:
        """Return the manifest digests of the wheels that processes on this host could not read."""
        key = _UNREADABLE + repository
        found = {} if self._store is None else self._store.get_many([key])
        try:
            return dict.fromkeys(json.loads(found[key].value)) if key in found else ()
        except (ValueError, TypeError):
            return ()  # damaged


def stored_metadata(caller: RepositoryCaller, digest: Digest) -> bytes:
    """Fetch a core metadata file that is stored in a separate blob.

    Raises:
        NotFoundError: the blob no longer exists.
        TransferBrokenError: the content does not match the digest.
    """
    with open_blob(caller, digest) as blob:
        content = blob.reply.read(METADATA_LIMIT)
    if Digest.of(content) != digest:
        raise TransferBrokenError(
            f"the registry sent content that does not match {digest}",
            advice="Publish the file again, and check the storage of the registry",
        )
    return content


class _NoRangesError(DamagedError):
    """The registry sent the whole blob instead of a part."""


class _RemoteFile:
    """A file object for `read_metadata` that reads a blob. Parts not fetched yet take one call."""

    def __init__(self, caller: RepositoryCaller, digest: Digest, size: int) -> None:
        self._caller = caller
        self._digest = digest
        self._size = size
        self._position = 0
        self._windows: list[tuple[int, bytes]] = []
        self._fetched = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (self._size if whence == io.SEEK_END else 0)
        return self._position

    def read(self, size: int) -> bytes:
        stop = min(self._size, self._position + size)
        if stop <= self._position:
            return b""
        start, window = self._fetched_before(stop) or self._fetch(self._position, stop)
        content = window[self._position - start : stop - start]
        self._position = stop
        return content

    def _fetched_before(self, stop: int) -> tuple[int, bytes] | None:
        for start, window in self._windows:
            if start <= self._position and stop <= start + len(window):
                return start, window
        return None

    def _fetch(self, first: int, stop: int) -> tuple[int, bytes]:
        # Near the end, where the directory is, the window extends back; elsewhere, ahead.
        if self._size - first <= _WINDOW:
            first, stop = max(0, self._size - _WINDOW), self._size
        else:
            stop = min(self._size, max(stop, first + _WINDOW))
        self._fetched += stop - first
        if self._fetched > _FETCHED_LIMIT:
            raise DamagedError(f"its directory is larger than {_FETCHED_LIMIT} bytes")
        with open_blob(self._caller, self._digest, first=first, last=stop - 1) as blob:
            if blob.start != first:
                raise _NoRangesError("the registry does not support range requests")
            window = bytearray()
            for chunk in blob.chunks():
                window += chunk
                if len(window) > stop - first:
                    break
        if len(window) != stop - first:
            raise TransferBrokenError(
                f"the registry sent a different part of {self._digest} than requested",
                advice="Check the registry and any proxy in front of it: they must "
                "support range requests",
            )
        self._windows.append((first, bytes(window)))
        return self._windows[-1]
