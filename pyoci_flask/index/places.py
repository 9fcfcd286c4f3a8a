"""The calls of one listing, and the places for them that the listings of a registry share.

A thread makes one call of its listing after the other. If another listing waits for a place, the
thread gives its place back after each call, so that all listings go on.
"""

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Generic, TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Places:
    """A number of calls that may run at the same time."""

    def __init__(self, width: int) -> None:
        self._lock = threading.Lock()
        """Guards the numbers here, and `threads`, `waits` and `error` of each run."""
        self._freed = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._free = width
        self._waiting = 0

    def take(self, run: "Run[_In, _Out]") -> bool:
        """Wait for a place for one more thread; return False if there is nothing left to begin."""
        with self._lock:
            self._waiting += 1
            run.waits = True
            try:
                self._freed.wait_for(lambda: self._free > 0 or not run.has_more)
            finally:
                self._waiting -= 1
                run.waits = False
            if not run.has_more:
                self._freed.notify()  # another listing may need what woke this one
                return False
            self._free -= 1
            run.threads += 1
            return True

    def give_back(self, run: "Run[_In, _Out]", error: BaseException | None) -> None:
        """End a thread that had a place. An error ends the whole run."""
        with self._lock:
            self._free += 1
            run.threads -= 1
            if error is not None:
                run.fail(error)
            if run.has_more:
                self._freed.notify()
            else:
                self._freed.notify_all()  # the run's own thread may wait there
                self._ended.notify_all()

    def wait_for_end(self, run: "Run[_In, _Out]", seconds: float | None = None) -> None:
        """Wait until no thread makes a call; without `seconds`, only until the first error."""
        with self._lock:
            self._ended.wait_for(
                lambda: not run.threads or (seconds is None and run.error is not None), seconds
            )

    def are_wanted(self, run: "Run[_In, _Out]") -> bool:
        """Return whether another run waits for a place."""
        return self._waiting > run.waits


class Run(Generic[_In, _Out]):
    """A function to call on each of some items, in copies of the caller's context."""

    def __init__(
        self, function: Callable[[_In], _Out], items: Sequence[_In], places: Places
    ) -> None:
        self.threads = 0
        self.waits = False
        self.error: BaseException | None = None
        """The first error of a call."""
        self.results: list[_Out] = [None] * len(items)  # type: ignore[list-item] # each is set
        self._function = function
        self._items = items
        self._places = places
        self._context = copy_context()
        self._lock = threading.Lock()
        self._next = 0
        self._most = len(items)

    @property
    def has_more(self) -> bool:
        """Whether a call has not begun yet."""
        return self._next < self._most

    def work(self) -> None:
        """Make calls until none is left, or until another run needs the place."""
        while self.work_once() and not self._places.are_wanted(self):
            pass

    def work_once(self) -> bool:
        """Make one call, unless none is left."""
        with self._lock:
            number = self._next
            if number >= self._most:
                return False
            self._next = number + 1
        self.results[number] = self._context.copy().run(self._function, self._items[number])
        return True

    def fail(self, error: BaseException) -> None:
        """Begin no more calls, and keep the error if it is the first one."""
        if self._most and self.error is None:
            self.error = error
        self.stop()

    def stop(self) -> None:
        """Begin no more calls."""
        with self._lock:
            self._most = 0
