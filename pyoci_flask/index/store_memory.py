"""The store of the listing cache in the memory of one process, which ends with it."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

from pyoci_flask.common.memory import Memory
from pyoci_flask.index.store import Stored

_ENTRIES = 100_000
_BYTES = 48 * 1024 * 1024


class MemoryStore:
    """A `Store` for an application that runs in one process only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: Memory[str, tuple[bytes, float]] = Memory(
            entries=_ENTRIES, max_bytes=_BYTES, clock=clock
        )
        """The values, and the times at which they expire."""

    def get_many(self, keys: Collection[str]) -> Mapping[str, Stored]:
        """Return the values of the keys that exist."""
        now = self._clock()
        found = {key: entry for key in keys if (entry := self._values.get(key))}
        return {key: Stored(value, until - now) for key, (value, until) in found.items()}

    def set_many(self, values: Mapping[str, bytes], ttl: float) -> bool:
        """Store values for `ttl` seconds."""
        with self._lock:
            self._put(values, ttl)
        return True

    def start_many(self, values: Mapping[str, bytes], ttl: float) -> Mapping[str, bytes]:
        """Store the values whose keys are missing; return what is stored for all these keys."""
        with self._lock:
            self._put({key: values[key] for key in values if key not in self._values}, ttl)
            return {key: entry[0] for key in values if (entry := self._values.get(key))}

    def increment(self, keys: Collection[str]) -> Mapping[str, int]:
        """Increment the counters that exist and return their new values."""
        counted = {}
        with self._lock:
            for key in keys:
                entry = self._values.get(key)
                if entry is not None:
                    counted[key] = int(entry[0]) + 1
                    value = str(counted[key]).encode(), entry[1]
                    self._values.put(key, value, ttl=entry[1] - self._clock())
        return counted

    def close(self) -> None:
        """Do nothing, because there is nothing to close."""

    def _put(self, values: Mapping[str, bytes], ttl: float) -> None:
        until = self._clock() + ttl
        for key, value in values.items():
            self._values.put(key, (value, until), ttl=ttl)
