"""Threads on systems that may refuse to start more (`ulimit -u`, a container's process limit)."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

from pyoci_flask.common.overrides import overrides, relies_on

_T = TypeVar("_T")


@overrides("_adjust_thread_count")
class FrugalExecutor(ThreadPoolExecutor):
    """A pool that continues with its existing threads if it cannot start another."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            # The submitted call remains in the queue for an existing thread.
            if not self._threads:
                raise


relies_on(FrugalExecutor(1), "_threads", user="FrugalExecutor")


@contextmanager
def in_background(
    function: Callable[[], _T], *, parallel: bool = True
) -> Iterator[Callable[[], _T]]:
    """Call `function` in a thread while the block runs, in a copy of the block's context.

    The value is a function that waits for the call and then returns its result or raises its error.
    The end of the block also waits, so that nothing continues after the response. If the block
    never asks for the result, an error of the call is ignored. If `parallel` is false, or the
    system refuses a thread, `function` is called before the block.
    """
    if not parallel:
        done = function()
        yield lambda: done
        return
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(context.run(function))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is used
            future.set_exception(error)

    context = copy_context()
    thread = threading.Thread(target=run, name="background", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()  # the system refused another thread
    try:
        yield lambda: future.result()
    finally:
        if thread.ident is not None:
            thread.join()
        # The error's traceback refers to this frame. Such a cycle would keep connections open
        # until the garbage collector runs.
        future = Future()
        future.cancel()  # there is no result after the block
