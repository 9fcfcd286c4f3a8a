"""The pace of calls to a registry that asks to slow down, shared by all threads of a worker."""

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
"""Seconds between two calls after the first refusal, and the maximum."""
_EASED = 0.97
"""The factor by which the interval shrinks after a call that was not refused."""
_LEAST = 0.005
"""Seconds. A shorter interval is forgotten."""
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

    def wait(self, host: str, *, may_wait: bool = True) -> float:
        """Wait until a call may begin, and return the time.

        A call that may not wait does not take the turn of one that may.

        Raises:
            RateLimitedError: too many calls are already waiting, or this call may not wait and the
                host asked to slow down not long ago.
        """
        if not len(self._known):
            return self._clock()  # the usual case needs no lock
        limit = self._clock() + _PATIENCE
        while True:
            with self._lock:
                now = self._clock()
                pace = self._known.get(host)
                if pace is None:
                    return now
                if now >= pace.turn and may_wait:
                    pace.turn = now + pace.interval
                    return now
                pause = pace.turn - now
            if now > limit or not may_wait:
                raise RateLimitedError(
                    f"{host} asks to slow down, and too many calls to it are waiting",
                    str(max(1, math.ceil(pause))),
                    advice="Try again in a few minutes",
                )
            time.sleep(pause)

    def slow(self, host: str, began: float, pause: float) -> None:
        """Record that a call begun at `began` was refused; the next call waits `pause` seconds."""
        with self._lock:
            now = self._clock()
            pace = self._known.get(host) or _Pace()
            # Calls made in parallel are refused together, which counts as one refusal.
            if began > pace.slowed:
                pace.interval = min(max(2 * pace.interval, _FIRST), _MOST)
                pace.slowed = now
            pace.turn = max(pace.turn, now + pause, now + pace.interval)
            self._known.put(host, pace)

    def ease(self, host: str) -> None:
        """Record that a call was not refused."""
        if not len(self._known):
            return
        with self._lock:
            pace = self._known.get(host)
            if pace is not None:
                pace.interval *= _EASED
                if pace.interval < _LEAST:
                    self._known.remove(host)
