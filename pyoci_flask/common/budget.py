"""Limits the bytes that all threads of a worker may keep in memory at a time."""

import threading
import weakref
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from pyoci_flask.errors import BusyError

_BUSY = "try again in a few seconds: this server is processing too many large documents"


class ByteBudget:
    """A number of bytes that threads share. One that has some of them must not wait for more."""

    def __init__(self, total: int, share: int | None = None, patience: float = 20.0) -> None:
        """Let one user reserve at most `share` bytes at a time; wait at most `patience` seconds."""
        self._total = total
        self._share = total if share is None else share
        self._patience = patience
        self._held: Counter[Hashable] = Counter()
        self._sum = 0
        self._released = threading.Condition()

    @contextmanager
    def hold(
        self, size: int, user: Hashable = None, patience: float | None = None
    ) -> Iterator[None]:
        """Wait for `size` bytes, or a whole share if that is less, and reserve them for the block.

        `patience` is the number of seconds to wait, if it differs from that of the budget.

        Raises:
            BusyError: other threads kept the bytes for too long.
        """
        size = min(size, self._share)
        seconds = self._patience if patience is None else patience
        with self._released:
            if not self._released.wait_for(lambda: self._fits(size, user), seconds):
                raise BusyError(_BUSY)
            self._take(size, user)
        try:
            yield
        finally:
            self._give_back(size, user)

    def keep(self, size: int, owner: object) -> None:
        """Reserve `size` bytes for as long as `owner` lives, without waiting.

        Raises:
            BusyError: too few bytes are free.
        """
        with self._released:
            if not self._fits(size, None):
                raise BusyError(_BUSY)
            self._take(size, None)
        weakref.finalize(owner, self._give_back, size, None)

    def _fits(self, size: int, user: Hashable) -> bool:
        return self._sum + size <= self._total and self._held[user] + size <= self._share

    def _take(self, size: int, user: Hashable) -> None:
        self._sum += size
        self._held[user] += size

    def _give_back(self, size: int, user: Hashable) -> None:
        with self._released:
            self._sum -= size
            self._held[user] -= size
            if not self._held[user]:
                del self._held[user]
            self._released.notify_all()
