"""Two calls at once, where one does not need the other's answer."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

_T = TypeVar("_T")


@contextmanager
def beside(function: Callable[[], _T], *, at_once: bool = True) -> Iterator[Callable[[], _T]]:
    """Call `function` in a thread of its own while the block runs, in a copy of its context.

    What is yielded waits for the call, and returns or raises as it did. The block's end waits as
    well, so that nothing goes on behind an answer; where the block did not ask, what the call
    raised is dropped. Unless `at_once`: then it is called before the block.
    """
    if not at_once:
        done = function()
        yield lambda: done
        return
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(context.run(function))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
            errors.append(error)

    def end() -> None:
        if thread.ident is not None:
            thread.join()

    def result() -> _T:
        end()
        if errors:
            raise errors[0]
        return results[0]

    context = copy_context()
    thread = threading.Thread(target=run, name="beside", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()  # the system gives no more threads
    try:
        yield result
    finally:
        end()
        # Its traceback leads back here: such a circle would keep connections until the garbage
        # collector comes.
        errors.clear()
