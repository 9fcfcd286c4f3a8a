"""A share of the worker's threads for each registry: a slow one leaves some to the others."""

import threading
from collections import Counter

from pyoci_flask.errors import BusyError

_PATIENCE = 0.5
"""Seconds: a burst at a registry that answers soon finds places, at a slow one it does not."""


class RegistryGate:
    """Counts the requests that wait for a registry, by its host.

    A request counts until its answer begins: files on their way to clients hold threads too, but
    those move.
    """

    def __init__(self, threads: int) -> None:
        """Share out the worker's `threads`.

        Those who wait for one registry leave an eighth, two at least, of the threads that are not
        waiting for others; and one is left to what needs no registry.
        """
        self._threads = threads
        self._changed = threading.Condition()
        self._waiting: Counter[str] = Counter()

    def enter(self, host: str) -> None:
        """Count a request in, after a short wait for a place; each needs its `leave`.

        Raises:
            BusyError: the registry has its share of threads waiting already.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_place(host), _PATIENCE):
                raise BusyError(
                    f"registries are slow to answer: {self._waiting.total()} requests wait, "
                    f"{self._waiting[host]} of them for {host}; try again"
                )
            self._waiting[host] += 1

    def leave(self, host: str) -> None:
        """Count a request out."""
        with self._changed:
            self._changed.notify_all()
            self._waiting[host] -= 1
            if not self._waiting[host]:
                del self._waiting[host]

    def _has_place(self, host: str) -> bool:
        here, everywhere = self._waiting[host], self._waiting.total()
        free = self._threads - (everywhere - here)
        return here < max(1, free - max(2, free // 8)) and everywhere < max(1, self._threads - 1)
