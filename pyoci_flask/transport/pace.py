"""How often to call a registry that asks to slow down: one pace for all threads of a worker."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import RateLimitedError

_HOSTS = 1024
_BYTES = 512 * 1024
"""Bounds of the memory of paces."""
_FIRST = 0.05
_MOST = 1.0
"""Seconds between two calls: after the first refusal, and at most."""
_EASED = 0.97
"""The factor for this interval after a call that was not refused."""
_LEAST = 0.005
"""An interval below this is no longer kept."""
_PATIENCE = 10.0
"""Seconds that a call waits for its turn. After that, the client is asked to try again."""
_FORGOTTEN = 60.0
"""Seconds without a refusal after which a pace is forgotten."""


@dataclass(slots=True)
class _Pace:
    interval: float = 0.0
    turn: float = 0.0
    """When the next call may begin."""
    slowed: float = -math.inf
    """When the interval was last made longer."""


class Paces:
    """The pace of each host that has refused a call for its rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        """A pace is read and changed only under this lock."""
        self._known: Memory[str, _Pace] = Memory(entries=_HOSTS, max_bytes=_BYTES, ttl=_FORGOTTEN)

    def wait(self, host: str) -> float:
        """Wait until a call may begin; return the time at which it did.

        Raises:
            RateLimitedError: too many calls wait already.
        """
        limit = self._clock() + _PATIENCE
        while True:
            with self._lock:
                now = self._clock()
                pace = self._known.get(host)
                if pace is None:
                    return now
                if now >= pace.turn:
                    pace.turn = now + pace.interval
                    return now
                pause = pace.turn - now
            if now > limit:
                raise RateLimitedError(
                    f"{host} asks to slow down, and too many calls to it are waiting: try again",
                    str(math.ceil(pause)),
                )
            time.sleep(pause)

    def slow(self, host: str, began: float, pause: float) -> None:
        """Note that a call begun at `began` was refused; the next one waits `pause` seconds."""
        with self._lock:
            now = self._clock()
            pace = self._known.get(host) or _Pace()
            # Calls that were side by side are refused together: that counts once.
            if began > pace.slowed:
                pace.interval = min(max(2 * pace.interval, _FIRST), _MOST)
                pace.slowed = now
            pace.turn = max(pace.turn, now + pause, now + pace.interval)
            self._known.put(host, pace)

    def ease(self, host: str) -> None:
        """Note that a call was not refused."""
        with self._lock:
            pace = self._known.get(host)
            if pace is not None:
                pace.interval *= _EASED
                if pace.interval < _LEAST:
                    self._known.remove(host)
