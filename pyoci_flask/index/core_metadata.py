"""Core metadata of stored wheels (PEP 658), without downloading them.

What was published here carries its METADATA as a blob of its own. Of any other wheel, the few
pieces of the archive that lead to METADATA are read with Range requests.
"""

import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, cast

from pyoci_flask.common.memory import remember
from pyoci_flask.errors import NotFoundError, PyOCIError, TransferBrokenError
from pyoci_flask.index.archive import (
    METADATA_LIMIT,
    BrokenArchiveError,
    DamagedError,
    read_metadata,
)
from pyoci_flask.index.download import StoredFile, find_layer
from pyoci_flask.index.names import Filename
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.store import RecordStore
from pyoci_flask.index.unreadable import Unreadable
from pyoci_flask.oci.blobs import open_blob
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import Digest

_WINDOW = 64 * 1024
"""Bytes fetched at once: the end of most wheels, METADATA included."""
_FETCHED_LIMIT = 26 * 1024 * 1024
"""Bytes fetched of one wheel: a directory of 16 MiB and METADATA of 8 MiB fit."""
_CACHE_BYTES = 16 * 1024 * 1024
_REMEMBERED = 10_000
"""Registries, and wheels of which a probe failed: of each so many."""
_ASK_AGAIN = 3600.0
"""Seconds after which a registry that answered no ranges is probed again."""
_PROBE_AGAIN = 60.0
"""Seconds after which a probe that failed, which says nothing about ranges, is made again."""


@dataclass(frozen=True, slots=True)
class CoreMetadata:
    """A core metadata file and its digest."""

    content: bytes
    digest: Digest


class CoreMetadataReader:
    """Reads core metadata; remembers what it read and which registries answer ranges."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, store: RecordStore | None = None
    ) -> None:
        self._clock = clock
        self._unreadable = Unreadable(store)
        self._lock = threading.Lock()
        self._ranges: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        self._failed: OrderedDict[tuple[str, Digest | None], float] = OrderedDict()
        """When to probe again; without a digest, any wheel of the repository."""
        self._read: OrderedDict[tuple[str, Digest], CoreMetadata] = OrderedDict()
        self._size = 0

    def read(self, stored: StoredFile) -> CoreMetadata:
        """Give the core metadata of a wheel that the caller was seen to have access to.

        Raises:
            NotFoundError: it cannot be had: no wheel, no sound one, or a registry without ranges.
        """
        file, caller = stored.file, stored.repository.caller
        if not file.filename.is_wheel:
            raise NotFoundError(f"{file.filename.text} is no wheel: only wheels have core metadata")
        if file.core_metadata is not None:
            return CoreMetadata(stored_metadata(caller, file.core_metadata), file.core_metadata)
        key = (caller.repository.location, stored.digest)
        with self._lock:
            known = self._read.get(key)
            if known is not None:
                self._read.move_to_end(key)
                return known
        try:
            content = _from_wheel(caller, stored.digest, stored.read_size(), file.filename)
        except BrokenArchiveError as error:
            if isinstance(error.__cause__, _NoRangesError):
                # The registry's fault, not the wheel's: another one was answered a range.
                origin = caller.repository.registry.origin
                with self._lock:
                    remember(self._ranges, origin, (False, self._clock() + _ASK_AGAIN), _REMEMBERED)
                raise NotFoundError(f"{error}") from error
            self._unreadable.add(caller.repository.location, file.entry.digest)
            raise NotFoundError(
                f"the core metadata of {file.filename.text} cannot be read: {error}"
            ) from error
        found = CoreMetadata(content, Digest.of(content))
        self._remember(key, found)
        return found

    def announced(self, repository: ProjectRepository, files: Sequence[File]) -> frozenset[str]:
        """Name the wheels whose metadata is not stored but is sure to be answered.

        Clients give up where announced metadata cannot be had, so the registry must have been
        seen to answer ranges; one probe tells, and is remembered.
        """
        name = repository.caller.repository.location
        now = self._clock()
        with self._lock:
            if now < self._failed.get((name, None), now):
                return frozenset()
            wanted = [
                file
                for file in files
                if file.core_metadata is None
                and file.filename.is_wheel
                and now >= self._failed.get((name, file.entry.digest), now)
            ]
        if wanted:
            unreadable = self._unreadable.among(name, {file.entry.digest for file in wanted})
            wanted = [file for file in wanted if file.entry.digest not in unreadable]
        if not wanted or not self._answers_ranges(repository, wanted[0]):
            return frozenset()
        return frozenset(file.filename.text for file in wanted)

    def _answers_ranges(self, repository: ProjectRepository, file: File) -> bool:
        origin = repository.caller.repository.registry.origin
        with self._lock:
            known = self._ranges.get(origin)
        if known is not None and (known[0] or self._clock() < known[1]):
            return known[0]
        try:
            digest = file.digest or find_layer(repository, file)
            with open_blob(repository.caller, digest, first=1, last=2) as blob:
                answers = blob.start == 1
        except PyOCIError as error:
            # It says nothing about ranges, and the page is worth more than they are. The next
            # wheel may do where this one is gone; else each would fail in the same way.
            gone = file.entry.digest if isinstance(error, NotFoundError) else None
            with self._lock:
                failed = (repository.caller.repository.location, gone)
                remember(self._failed, failed, self._clock() + _PROBE_AGAIN, _REMEMBERED)
            return False
        with self._lock:
            remember(self._ranges, origin, (answers, self._clock() + _ASK_AGAIN), _REMEMBERED)
        return answers

    def _remember(self, key: tuple[str, Digest], found: CoreMetadata) -> None:
        with self._lock:
            if key in self._read:
                return
            self._read[key] = found
            self._size += len(found.content)
            while self._size > _CACHE_BYTES:
                _, dropped = self._read.popitem(last=False)
                self._size -= len(dropped.content)


def stored_metadata(caller: RepositoryCaller, digest: Digest) -> bytes:
    """Fetch a core metadata file that has a blob of its own.

    Raises:
        NotFoundError: the blob is gone.
        TransferBrokenError: it is not what its digest names.
    """
    with open_blob(caller, digest) as blob:
        content = blob.reply.read(METADATA_LIMIT)
    if Digest.of(content) != digest:
        raise TransferBrokenError(f"the registry sent other bytes than those of {digest}")
    return content


def _from_wheel(caller: RepositoryCaller, digest: Digest, size: int, filename: Filename) -> bytes:
    remote = cast("IO[bytes]", _RemoteFile(caller, digest, size))
    return read_metadata(remote, filename, any_method=True)


class _NoRangesError(DamagedError):
    """The registry sent the whole blob instead of a part."""


class _RemoteFile(io.RawIOBase):
    """A blob as a file that can be read anywhere: each read that is not at hand is one call."""

    def __init__(self, caller: RepositoryCaller, digest: Digest, size: int) -> None:
        self._caller = caller
        self._digest = digest
        self._size = size
        self._position = 0
        self._windows: list[tuple[int, bytes]] = []
        self._fetched = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a seek before the start of the archive")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._position + size)
        if stop <= self._position:
            return b""
        start, window = self._at_hand(stop) or self._fetch(self._position, stop)
        content = window[self._position - start : stop - start]
        self._position = stop
        return content

    def _at_hand(self, stop: int) -> tuple[int, bytes] | None:
        for start, window in self._windows:
            if start <= self._position and stop <= start + len(window):
                return start, window
        return None

    def _fetch(self, first: int, stop: int) -> tuple[int, bytes]:
        # Near the end, where the directory is, the window reaches back; elsewhere ahead.
        if self._size - first <= _WINDOW:
            first, stop = max(0, self._size - _WINDOW), self._size
        else:
            stop = min(self._size, max(stop, first + _WINDOW))
        self._fetched += stop - first
        if self._fetched > _FETCHED_LIMIT:
            raise DamagedError(f"its directory is over {_FETCHED_LIMIT} bytes")
        with open_blob(self._caller, self._digest, first=first, last=stop - 1) as blob:
            if blob.start != first:
                raise _NoRangesError("the registry does not answer ranges")
            window = bytearray()
            for chunk in blob.chunks():
                window += chunk
                if len(window) > stop - first:
                    break
        if len(window) != stop - first:
            raise TransferBrokenError(f"the registry sent another part of {self._digest}")
        self._windows.append((first, bytes(window)))
        return self._windows[-1]
