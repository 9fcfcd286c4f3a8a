"""The pool of threads that fetch the indexes of many versions in parallel."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TypeVar
from weakref import WeakValueDictionary

from pyoci_flask.common.threads import FrugalExecutor
from pyoci_flask.oci.reference import Registry
from pyoci_flask.oci.shares import host_of

_ENDING = 1.0
"""Seconds to wait for calls that are under way when another one fails."""
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class FetchPool:
    """A bounded pool of threads, shared by all requests of a worker.

    One registry may use half of them. If none is free, a request makes its calls itself, one after
    the other, so the listings of a registry that hangs do not stop the others.
    """

    def __init__(self, width: int, share: Callable[[Registry], str] = host_of) -> None:
        """Make up to `width` calls at once to registries of the same `share`."""
        self.share = share
        self._width = width
        self._executor = FrugalExecutor(2 * width, thread_name_prefix="fetch")
        self._free = threading.BoundedSemaphore(2 * width)
        self._lock = threading.Lock()
        self._places: WeakValueDictionary[str, threading.BoundedSemaphore] = WeakValueDictionary()
        """They exist while a listing uses them."""

    def map(
        self, registry: str, function: Callable[[_In], _Out], items: Iterable[_In]
    ) -> list[_Out]:
        """Call `function` on each item and return the results in order.

        Every call runs in a copy of the caller's context, so its log lines carry the request's id.
        The first exception is raised, and calls that did not begin yet are dropped. Those under
        way have one second to end, so that what they read can be kept.
        """
        with self._lock:
            places = self._places.get(registry)
            if places is None:
                self._places[registry] = places = threading.BoundedSemaphore(self._width)
        failed = threading.Event()
        futures: list[Future[_Out]] = []

        def ended(future: Future[_Out]) -> None:
            places.release()
            if future.cancelled() or future.exception() is not None:
                failed.set()

        def ended_on_thread(future: Future[_Out]) -> None:
            self._free.release()
            ended(future)

        try:
            for item in items:
                places.acquire()
                if failed.is_set():
                    places.release()
                    break
                future = self._begun(function, item)
                if future is None:
                    futures.append(_made(function, item))
                    ended(futures[-1])
                else:
                    futures.append(future)
                    future.add_done_callback(ended_on_thread)
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            wait(futures, timeout=_ENDING)
            raise
        finally:
            # The traceback of a call's error refers to this list, and a future in it to the error.
            # Such a cycle would keep connections open until the garbage collector runs.
            while futures:
                futures.pop().cancel()

    def _begun(self, function: Callable[[_In], _Out], item: _In) -> Future[_Out] | None:
        """Let a thread make a call; None = no thread is free, and no more can be started."""
        if not self._free.acquire(blocking=False):
            return None
        try:
            return self._executor.submit(copy_context().run, function, item)
        except RuntimeError:
            self._free.release()
            return None

    def close(self) -> None:
        """Stop the threads. Calls under way end, and others are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _made(function: Callable[[_In], _Out], item: _In) -> Future[_Out]:
    """Make a call in this thread."""
    future: Future[_Out] = Future()
    try:
        future.set_result(copy_context().run(function, item))
    except BaseException as error:  # noqa: BLE001 - `result` raises it again
        future.set_exception(error)
    return future
