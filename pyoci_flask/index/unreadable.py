"""Which stored wheels have no core metadata that can be read: known to all workers of a host."""

import threading
from collections import OrderedDict

from pyoci_flask.common.memory import remember
from pyoci_flask.index.store import RecordStore
from pyoci_flask.oci.reference import Digest

_MOST = 10_000
"""Wheels: in this worker, and of each repository in the store."""


class Unreadable:
    """Remembers wheels by the digest of their manifest, so nothing that is known gets old."""

    def __init__(self, store: RecordStore | None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._own: OrderedDict[tuple[str, Digest], None] = OrderedDict()

    def add(self, repository: str, manifest: Digest) -> None:
        """Remember a wheel of a repository."""
        with self._lock:
            remember(self._own, (repository, manifest), None, _MOST)
        key = _key(repository)
        record = None if self._store is None else self._store.begin(key)
        if self._store is not None and record is not None:
            known = record.document if len(record.document) < _MOST else {}
            added = {manifest.text: True}
            self._store.write(key, record, known | added, added)

    def among(self, repository: str, manifests: set[Digest]) -> set[Digest]:
        """Tell which of these are known."""
        with self._lock:
            found = {one for one in manifests if (repository, one) in self._own}
        key = _key(repository)
        # Most repositories have no such record, and none is made by looking.
        if self._store is not None and self._store.revision(key) is not None:
            record = self._store.begin(key)
            known = {} if record is None else record.document
            found |= {one for one in manifests if one.text in known}
        return found


def _key(repository: str) -> str:
    return f"{repository}\nunreadable wheels"
