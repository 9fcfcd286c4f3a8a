"""Remembers which blobs were sent completely and with the right digest."""

import time
from collections.abc import Callable

from pyoci_flask.common.memory import Memory
from pyoci_flask.index.store import Store
from pyoci_flask.oci.reference import Digest

_REMEMBERED = 10_000
_MOST_BYTES = 4 * 1024 * 1024
"""Maximum number of entries and of bytes in a worker's memory."""
_FOR = 30 * 24 * 60 * 60.0
"""Seconds for which a blob is remembered."""
_LARGE = 256 * 1024
"""Bytes. To hash a smaller blob takes no longer than to look it up."""
_KEY = "verified\n{}\n{}"
"""Key in the store. Another repository may hold damaged bytes under the same digest."""


class VerifiedBlobs:
    """Blobs that need not be hashed again; the workers of a host share what is in the store."""

    def __init__(
        self, store: Store | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without a `store`, only this worker remembers."""
        self._store = store
        self._known: Memory[tuple[str, Digest], int] = Memory(
            entries=_REMEMBERED, max_bytes=_MOST_BYTES, ttl=_FOR, clock=clock
        )
        """The size of each blob."""

    def has(self, repository: str, digest: Digest, size: int) -> bool:
        """Return whether a blob was verified and had this size. `repository` is its location."""
        if size < _LARGE:
            return False
        if self._known.get((repository, digest)) == size:
            return True
        key = _KEY.format(repository, digest)
        found = {} if self._store is None else self._store.get_many([key])
        if key not in found or found[key].value != _value(size):
            return False
        self._known.put((repository, digest), size, ttl=found[key].left)
        return True

    def add(self, repository: str, digest: Digest, size: int) -> None:
        """Remember that a blob was received completely and with the right digest."""
        if size < _LARGE:
            return
        self._known.put((repository, digest), size)
        if self._store is not None:
            self._store.set_many({_KEY.format(repository, digest): _value(size)}, _FOR)


def _value(size: int) -> bytes:
    return str(size).encode()
