"""A share of the worker's threads for each registry: a slow one leaves some to the others."""

import threading
from collections import Counter

from pyoci_flask.errors import BusyError


class RegistryGate:
    """Counts the requests that wait for a registry, by its host.

    A request counts until its answer begins: files on their way to clients hold threads too, but
    those move.
    """

    def __init__(self, threads: int) -> None:
        """Leave an eighth of the worker's `threads`, two at least, to other registries."""
        self._most = max(1, threads - max(2, threads // 8))
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()

    def enter(self, host: str) -> None:
        """Count a request in; each needs its `leave`.

        Raises:
            BusyError: the registry has its share of threads waiting already.
        """
        with self._lock:
            if self._waiting[host] >= self._most:
                raise BusyError(
                    f"{host} is slow to answer, and {self._most} requests wait for it already; "
                    "try again"
                )
            self._waiting[host] += 1

    def leave(self, host: str) -> None:
        """Count a request out."""
        with self._lock:
            self._waiting[host] -= 1
            if not self._waiting[host]:
                del self._waiting[host]
