"""The pool on which the indexes of many versions are fetched side by side."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class FetchPool:
    """A bounded pool of threads, shared by all requests of a worker."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="fetch")

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
        """Call `function` on each item and return the results in order.

        Every call runs in a copy of the caller's context, so that its log lines carry the
        request's id. The first exception is raised, and calls not yet begun are dropped.
        """
        futures = [self._executor.submit(copy_context().run, function, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Stop the threads; calls under way end, others are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
