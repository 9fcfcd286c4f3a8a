"""Threads on systems that may refuse new ones (`ulimit -u`, a limit on a container's processes)."""

from concurrent.futures import ThreadPoolExecutor

from pyoci_flask.common.overrides import overrides, relies_on


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
