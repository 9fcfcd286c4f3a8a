"""Functions that run behind an answer, in threads for which the end of the process does not wait.

The interpreter joins the threads of a `ThreadPoolExecutor` when it exits, so a registry that hangs
would delay the stop of a worker.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextvars import Context, copy_context
from weakref import finalize

logger = logging.getLogger("pyoci.index")


class Background:
    """Runs a limited number of functions. One registry may use half of the threads."""

    def __init__(self, most: int) -> None:
        """Run up to `most` functions at a time."""
        self._most = most
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        """By registry, the number of functions."""
        self._closed = threading.Event()
        finalize(self, self._closed.set)  # also when the interpreter exits

    @property
    def closed(self) -> bool:
        """Whether the functions should end, because the process is about to end."""
        return self._closed.is_set()

    def close(self) -> None:
        """Begin no more functions."""
        self._closed.set()

    def begin(self, registry: str, function: Callable[[], None], ended: Callable[[], None]) -> bool:
        """Call `function` and then `ended` in a thread; return False if no thread is free."""
        with self._lock:
            mine = self._running[registry] < max(1, self._most // 2)
            if self.closed or not mine or self._running.total() >= self._most:
                return False
            self._running[registry] += 1
        context = _without_request()

        def run() -> None:
            try:
                context.run(function)
            except Exception:  # noqa: BLE001 - it has no caller
                context.run(logger.exception, "work in the background failed")
            finally:
                self._end(registry)
                ended()

        try:
            threading.Thread(target=run, name="background", daemon=True).start()
        except RuntimeError:
            self._end(registry)
            return False
        return True

    def _end(self, registry: str) -> None:
        with self._lock:
            self._running[registry] -= 1
            if not self._running[registry]:
                del self._running[registry]


def _without_request() -> Context:
    """Return a copy of the context that does not keep Flask's request, and its body, in memory."""
    context = Context()
    for variable, value in copy_context().items():
        if not variable.name.startswith("flask."):
            context.run(variable.set, value)
    return context
