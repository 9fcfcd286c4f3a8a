"""Deadlines for blocking reads, because a socket's own time-out restarts with every byte."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Limit:
    """One deadline that is being watched."""

    abort: Callable[[], object] | None = field(repr=False)
    """None once the limit is over."""
    expired: bool = False
    """Whether the time has passed and `abort` was called."""


class Deadlines:
    """Aborts operations that do not finish in time, from a thread that starts at the first use."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Limit]] = []
        self._numbers = itertools.count()
        self._running = False

    @contextmanager
    def limit(self, seconds: float, abort: Callable[[], object]) -> Iterator[Limit]:
        """Call `abort` from the watching thread unless the context ends within `seconds`."""
        limit = Limit(abort)
        with self._condition:
            if not self._running:
                threading.Thread(target=self._watch, name="deadlines", daemon=True).start()
                self._running = True
            entry = (time.monotonic() + seconds, next(self._numbers), limit)
            heapq.heappush(self._heap, entry)
            if self._heap[0] is entry:
                self._condition.notify()
        try:
            yield limit
        finally:
            with self._condition:
                # The entry remains in the heap until its time. It must not keep a response alive.
                limit.abort = None

    def _watch(self) -> None:
        with self._condition:
            while True:
                if not self._heap:
                    self._condition.wait()
                    continue
                end, _, limit = self._heap[0]
                left = end - time.monotonic()
                if limit.abort is None:
                    heapq.heappop(self._heap)
                elif left > 0:
                    self._condition.wait(left)
                else:
                    heapq.heappop(self._heap)
                    limit.expired = True
                    # Called under the lock, so no connection that serves another call is aborted.
                    with suppress(Exception):  # an error must not end the only thread that watches
                        limit.abort()


DEADLINES = Deadlines()
"""The deadlines of this process. Threads do not survive a fork; no call is made before one."""
