"""The pool on which the indexes of many versions are fetched side by side."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class FetchPool:
    """A bounded pool of threads, shared by all requests of a worker.

    One registry may have half of them at work: the listings of one that hangs do not stop the
    others.
    """

    def __init__(self, width: int) -> None:
        """`width` is the calls that are made to one registry at once."""
        self._width = width
        self._executor = ThreadPoolExecutor(2 * width, thread_name_prefix="fetch")
        self._lock = threading.Lock()
        self._places: dict[str, threading.BoundedSemaphore] = {}

    def map(
        self, registry: str, function: Callable[[_In], _Out], items: Iterable[_In]
    ) -> list[_Out]:
        """Call `function` on each item and return the results in order.

        Every call runs in a copy of the caller's context, so that its log lines carry the
        request's id. The first exception is raised, and calls not yet begun are dropped.
        """
        with self._lock:
            # Bounded by the registries that are called; each is a few words.
            places = self._places.setdefault(registry, threading.BoundedSemaphore(self._width))
        failed = threading.Event()
        futures: list[Future[_Out]] = []

        def done(future: Future[_Out]) -> None:
            places.release()
            if future.cancelled() or future.exception() is not None:
                failed.set()

        try:
            for item in items:
                places.acquire()
                if failed.is_set():
                    places.release()
                    break
                futures.append(self._executor.submit(copy_context().run, function, item))
                futures[-1].add_done_callback(done)
            return [future.result() for future in futures]
        finally:
            # Emptied, as the traceback of a call's error leads here, and its future to the error:
            # such a circle would keep connections until the garbage collector comes.
            while futures:
                futures.pop().cancel()

    def close(self) -> None:
        """Stop the threads; calls under way end, others are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
