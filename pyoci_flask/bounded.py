"""Memories of requests. Whoever sends those decides how many come, but not how much is kept."""

from collections import OrderedDict
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


def remember(memory: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    """Put something in as the newest, and drop the oldest beyond `most`. Hold its lock."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
