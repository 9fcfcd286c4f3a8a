"""Memories of requests. Whoever sends those decides how many come, but not how much is kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


def remember(memory: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    """Put something in as the newest, and drop the oldest beyond `most`. Hold its lock."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)


def shrink(memory: OrderedDict[_K, _V], size: Callable[[_V], int], most: int) -> None:
    """Drop the oldest until all have at most `most` bytes together. Hold its lock."""
    total = sum(size(value) for value in memory.values())
    while total > most:
        total -= size(memory.popitem(last=False)[1])


class SizedCache(Generic[_V]):
    """What a function makes of bytes, for those used last: `most` bytes of arguments in all."""

    def __init__(self, function: Callable[..., _V], most: int) -> None:
        self._function = function
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[bytes, tuple[str, ...]], _V] = OrderedDict()
        self._size = 0

    def __call__(self, document: bytes, *kind: str) -> _V:
        """Call the function, or return what it returned. The value is shared: do not change it."""
        key = document, kind
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        value = self._function(document, *kind)
        with self._lock:
            if key not in self._known:
                self._known[key] = value
                self._size += len(document)
            while self._size > self._most:
                self._size -= len(self._known.popitem(last=False)[0][0])
        return value
