"""The pool on which the indexes of many versions are fetched side by side."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from pyoci_flask.common.threads import FrugalExecutor
from pyoci_flask.oci.reference import Registry
from pyoci_flask.oci.shares import host_of

_ENDING = 1.0
"""Seconds to wait for calls under way after another one failed."""
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class FetchPool:
    """A bounded pool of threads, shared by all requests of a worker.

    One registry may have half of them at work, and where none is free a request makes its calls
    itself, one by one: the listings of registries that hang do not stop the others.
    """

    def __init__(self, width: int, share: Callable[[Registry], str] = host_of) -> None:
        """`width` is the calls that are made at once to registries of the same `share`."""
        self.share = share
        self._width = width
        self._executor = FrugalExecutor(2 * width, thread_name_prefix="fetch")
        self._free = threading.BoundedSemaphore(2 * width)
        self._lock = threading.Lock()
        self._places: WeakValueDictionary[str, threading.BoundedSemaphore] = WeakValueDictionary()
        """Kept by the listings that are under way."""

    def map(
        self, registry: str, function: Callable[[_In], _Out], items: Iterable[_In]
    ) -> list[_Out]:
        """Call `function` on each item and return the results in order.

        Every call runs in a copy of the caller's context, so that its log lines carry the
        request's id. The first exception is raised, and calls not yet begun are dropped; those
        under way have a second to end, so that what they read can be kept.
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
                call = partial(copy_context().run, function, item)
                future = self._begun(call)
                if future is None:
                    futures.append(_made(call))
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
            # Emptied, as the traceback of a call's error leads here, and its future to the error:
            # such a circle would keep connections until the garbage collector comes.
            while futures:
                futures.pop().cancel()

    def _begun(self, call: Callable[[], _Out]) -> Future[_Out] | None:
        """Have a call made by a thread; None = none is free, or to be had."""
        if not self._free.acquire(blocking=False):
            return None
        try:
            return self._executor.submit(call)
        except RuntimeError:
            self._free.release()
            return None

    def close(self) -> None:
        """Stop the threads; calls under way end, others are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _made(call: Callable[[], _Out]) -> Future[_Out]:
    """Make a call in this thread."""
    future: Future[_Out] = Future()
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
        future.set_exception(error)
    return future
