"""What outlives a request in a worker: a bounded mapping, and a lock for each key."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_PER_ENTRY = 200
"""The approximate number of bytes that Python needs for an entry, besides the text in it."""


def text_size(thing: object) -> int:
    """Return the size of the text in a key or a value: strings and bytes, even within tuples.

    Everything else counts as 0. A value that contains text in another way needs its own `size`.
    """
    if isinstance(thing, (str, bytes)):
        return len(thing)
    if isinstance(thing, tuple):
        return sum(text_size(one) for one in thing)
    return 0


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    size: int
    until: float


class Memory(Generic[K, V]):
    """A mapping for all threads of a worker, bounded in entries, in bytes and in time.

    Clients decide what is requested, so they must not decide how much is remembered. If a bound is
    exceeded, the least recently used entries are dropped. Expired entries among the least recently
    used are dropped as well. Values are shared, so do not change them.
    """

    def __init__(
        self,
        *,
        entries: int,
        max_bytes: int,
        ttl: float | None = None,
        size: Callable[[V], int] = text_size,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep at most `entries` entries with a total of `max_bytes` bytes, each for `ttl` seconds.

        Without `ttl`, entries never expire. `size` returns the size of a value in bytes, to which
        the text of the key and a constant for each entry are added.
        """
        self._most = entries
        self._max_bytes = max_bytes
        self._ttl = float("inf") if ttl is None else ttl
        self._size_of = size
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._bytes = 0

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None if it does not exist or has expired."""
        entry = self._find(key)
        return None if entry is None else entry.value

    def put(self, key: K, value: V, *, ttl: float | None = None) -> None:
        """Remember a value. `ttl` (in seconds) replaces that of the memory."""
        size = _PER_ENTRY + text_size(key) + self._size_of(value)
        now = self._clock()
        until = now + (self._ttl if ttl is None else ttl)
        with self._lock:
            self._drop(key)
            if size > self._max_bytes:
                return  # it would push out all others, and then be dropped itself
            self._entries[key] = _Entry(value, size, until)
            self._bytes += size
            while self._entries:
                oldest, entry = next(iter(self._entries.items()))
                is_full = len(self._entries) > self._most or self._bytes > self._max_bytes
                if not is_full and entry.until > now:
                    break
                self._drop(oldest)

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key. If it is missing, call `make`, perhaps in several threads."""
        entry = self._find(key)
        if entry is not None:
            return entry.value
        value = make()
        self.put(key, value)
        return value

    def remove(self, key: K) -> None:
        """Forget a key if it exists."""
        with self._lock:
            self._drop(key)

    def keys(self) -> list[K]:
        """Return the keys that have not expired. This does not count as a use of them."""
        now = self._clock()
        with self._lock:
            return [key for key, entry in self._entries.items() if entry.until > now]

    def __contains__(self, key: K) -> bool:
        return self._find(key) is not None

    def __len__(self) -> int:
        """Return the number of entries, including expired ones that have not been dropped yet."""
        return len(self._entries)

    def _find(self, key: K) -> _Entry[V] | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.until <= self._clock():
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return entry

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size


class KeyedLocks(Generic[K]):
    """A lock for each key, which exists only while a thread holds it or waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[K, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, key: K, timeout: float = -1) -> Iterator[bool]:
        """Lock a key while a block runs. The value says whether another thread had the lock.

        After `timeout` seconds of waiting, the block runs without the lock.
        """
        with self._lock:
            own, users = self._held.get(key, (threading.Lock(), 0))
            self._held[key] = own, users + 1
        try:
            held = own.acquire(timeout=timeout)
            try:
                yield users > 0
            finally:
                if held:
                    own.release()
        finally:
            with self._lock:
                own, users = self._held[key]
                if users == 1:
                    del self._held[key]
                else:
                    self._held[key] = own, users - 1
