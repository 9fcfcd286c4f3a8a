"""Threads where the system may give no more (`ulimit -u`, a limit of a container's processes)."""

from concurrent.futures import ThreadPoolExecutor

from pyoci_flask.common.overrides import overrides, relies_on


@overrides("_adjust_thread_count")
class FrugalExecutor(ThreadPoolExecutor):
    """A pool that makes do with the threads that it has."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            # What was submitted waits in the queue for one of the others.
            if not self._threads:
                raise


relies_on(FrugalExecutor(1), "_threads", user="FrugalExecutor")
