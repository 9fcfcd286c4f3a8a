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
        """Leave an eighth of the worker's `threads`, two at least, to other registries."""
        self._most = max(1, threads - max(2, threads // 8))
        self._changed = threading.Condition()
        self._waiting: Counter[str] = Counter()

    def enter(self, host: str) -> None:
        """Count a request in, after a short wait for a place; each needs its `leave`.

        Raises:
            BusyError: the registry has its share of threads waiting already.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting[host] < self._most, _PATIENCE):
                raise BusyError(
                    f"{host} is slow to answer, and {self._most} requests wait for it already; "
                    "try again"
                )
            self._waiting[host] += 1

    def leave(self, host: str) -> None:
        """Count a request out."""
        with self._changed:
            self._changed.notify_all()
            self._waiting[host] -= 1
            if not self._waiting[host]:
                del self._waiting[host]
