"""Bytes that may be in memory at once, shared by all threads of a worker."""

import threading
import weakref
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from pyoci_flask.errors import BusyError

_BUSY = "this server is working on too many large documents; try again"


class ByteBudget:
    """A number of bytes. A thread that holds some of it must not wait for more of it."""

    def __init__(self, total: int, share: int | None = None, patience: float = 20.0) -> None:
        """`share` is what one user may hold at once; `patience` is how many seconds to wait."""
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
        """Wait for `size` bytes and hold them; never more than a share is needed.

        `patience` is the seconds to wait if they are not those of the budget.

        Raises:
            BusyError: others hold them for too long.
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
        """Hold `size` bytes for as long as `owner` lives, without waiting.

        Raises:
            BusyError: others hold them.
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
