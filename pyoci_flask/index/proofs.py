"""Who may be shown what is remembered: those who have read it themselves, a short time ago."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from pyoci_flask.common.memory import remember
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.transport.credentials import fingerprint

_PROOFS = 4096


class Proofs:
    """Which credentials have pulled from which repository of late."""

    def __init__(self, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Let a proof hold for `ttl` seconds."""
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._until: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def add(self, caller: RepositoryCaller) -> None:
        """Note that the registry just let this caller read a manifest."""
        with self._lock:
            until = self._clock() + self._ttl
            remember(self._until, _proof_key(caller), until, _PROOFS)

    def holds(self, caller: RepositoryCaller) -> bool:
        """Tell whether it did so within the time to live."""
        with self._lock:
            return self._until.get(_proof_key(caller), 0.0) > self._clock()


def _proof_key(caller: RepositoryCaller) -> tuple[str, str, str]:
    repository = caller.repository
    return repository.registry.origin, repository.name, fingerprint(caller.credentials)
