"""How often a registry is called that asks to slow down: one pace for all threads of a worker."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pyoci_flask.common.memory import remember
from pyoci_flask.errors import RateLimitedError

_REMEMBERED = 1024
"""Hosts with a pace."""
_FIRST = 0.05
_MOST = 1.0
"""Seconds between two calls: after the first refusal, and at most."""
_EASED = 0.97
"""What is left of them after a call that was not refused."""
_LEAST = 0.005
"""Below this there is no pace."""
_PATIENCE = 10.0
"""Seconds that a call waits for its turn. What takes longer is left to the client."""
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
        self._known: OrderedDict[str, _Pace] = OrderedDict()

    def wait(self, host: str) -> float:
        """Wait until a call may begin; return when it did.

        Raises:
            RateLimitedError: too many others wait already.
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
                    if now > pace.slowed + _FORGOTTEN:
                        del self._known[host]
                    return now
                pause = pace.turn - now
            if now > limit:
                raise RateLimitedError(
                    f"{host} asks to slow down, and too many calls to it are waiting: try again",
                    str(math.ceil(pause)),
                )
            time.sleep(pause)

    def slow(self, host: str, began: float, pause: float) -> None:
        """Note that a call that began at `began` was refused; the next has to wait for `pause`."""
        with self._lock:
            now = self._clock()
            pace = self._known.get(host) or _Pace()
            # Calls that were side by side are refused together: that counts once.
            if began > pace.slowed:
                pace.interval = min(max(2 * pace.interval, _FIRST), _MOST)
                pace.slowed = now
            pace.turn = max(pace.turn, now + pause, now + pace.interval)
            remember(self._known, host, pace, _REMEMBERED)

    def ease(self, host: str) -> None:
        """Note that a call was not refused."""
        with self._lock:
            pace = self._known.get(host)
            if pace is not None:
                pace.interval *= _EASED
                if pace.interval < _LEAST:
                    del self._known[host]
