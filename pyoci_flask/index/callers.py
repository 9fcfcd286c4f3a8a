"""What a worker remembers of callers: who may read what, and which repositories are not there."""

import time
from collections.abc import Callable

from pyoci_flask.common.memory import Memory
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.transport.request import fingerprint

_MOST = 4096
_MOST_BYTES = 4 * 1024 * 1024


class RecentCallers:
    """Pairs of credentials and a repository, each for the time to live."""

    def __init__(self, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember each caller for `ttl` seconds."""
        self._callers: Memory[tuple[str, str], bool] = Memory(
            entries=_MOST, max_bytes=_MOST_BYTES, ttl=ttl, clock=clock
        )

    def add(self, caller: RepositoryCaller) -> None:
        """Remember a caller from now on."""
        self._callers.put(_key(caller), value=True)

    def __contains__(self, caller: RepositoryCaller) -> bool:
        return _key(caller) in self._callers


def _key(caller: RepositoryCaller) -> tuple[str, str]:
    return caller.repository.location, fingerprint(caller.credentials)


class Guesses:
    """What was learned about the repositories that a project may have besides its usual one."""

    def __init__(self, ttl: float = 60.0) -> None:
        """Remember each answer for `ttl` seconds."""
        self.missing = RecentCallers(ttl)
        """The registry said that there is no such repository."""
        self.empty = RecentCallers(ttl)
        """The repository has no tags. Unlike where it is missing, the project exists."""
        self.denied = RecentCallers(ttl)
