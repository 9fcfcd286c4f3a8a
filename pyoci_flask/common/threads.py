"""Threads on systems that may refuse new ones (`ulimit -u`, a limit on a container's processes)."""

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
    """A pool that continues with the threads it has if it cannot start another."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            # The call that was submitted stays in the queue for an existing thread.
            if not self._threads:
                raise


relies_on(FrugalExecutor(1), "_threads", user="FrugalExecutor")


@contextmanager
def in_background(
    function: Callable[[], _T], *, parallel: bool = True
) -> Iterator[Callable[[], _T]]:
    """Call `function` in a thread while the block runs, in a copy of the block's context.

    The value is a function that waits for the call, and returns or raises what it did. The end of
    the block waits as well, so that nothing goes on after the answer. If the block never asked for
    the result, an error of the call is dropped. If `parallel` is false, or the system refuses a
    thread, `function` is called before the block.
    """
    if not parallel:
        done = function()
        yield lambda: done
        return
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(context.run(function))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
            future.set_exception(error)

    context = copy_context()
    thread = threading.Thread(target=run, name="background", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()  # the system refuses another thread
    try:
        yield lambda: future.result()
    finally:
        if thread.ident is not None:
            thread.join()
        # The error's traceback refers to this frame. Such a cycle would keep connections open
        # until the garbage collector runs.
        future = Future()
        future.cancel()  # there is no result after the block
