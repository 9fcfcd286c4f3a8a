"""Deadlines over blocking reads: a socket's own time-out starts anew with every byte."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Limit:
    """One deadline under watch."""

    abort: Callable[[], object] = field(repr=False)
    expired: bool = False
    """Whether it passed, and `abort` was called."""
    over: bool = False


def _nothing() -> None:
    """Stand in for the abort of what has ended."""


class Deadlines:
    """One thread that aborts what is not finished in time; it starts with the first use."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Limit]] = []
        self._numbers = itertools.count()
        self._running = False

    @contextmanager
    def limit(self, seconds: float, abort: Callable[[], object]) -> Iterator[Limit]:
        """Call `abort` from the other thread unless the context ends within `seconds`."""
        limit = Limit(abort)
        with self._condition:
            if not self._running:
                threading.Thread(target=self._watch, name="deadlines", daemon=True).start()
                self._running = True
            first = not self._heap
            entry = (time.monotonic() + seconds, next(self._numbers), limit)
            heapq.heappush(self._heap, entry)
            if first or self._heap[0] is entry:
                self._condition.notify()
        try:
            yield limit
        finally:
            with self._condition:
                limit.over = True
                # The entry stays until its time: it must not keep a whole answer until then.
                limit.abort = _nothing

    def _watch(self) -> None:
        with self._condition:
            while True:
                while self._heap and self._heap[0][2].over:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._condition.wait()
                    continue
                left = self._heap[0][0] - time.monotonic()
                if left > 0:
                    self._condition.wait(left)
                    continue
                limit = heapq.heappop(self._heap)[2]
                limit.expired = True
                # Under the lock, so that it never hits a connection that serves the next call.
                with suppress(Exception):  # the only thread of its kind outlives all of them
                    limit.abort()


DEADLINES = Deadlines()
"""Of this process: threads do not survive a fork, and no call is made before it."""
