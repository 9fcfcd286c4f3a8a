"""Limits the threads of a worker that wait for one registry, so that some stay free for others."""

import threading
from collections import Counter
from collections.abc import Callable

from pyoci_flask.errors import BusyError
from pyoci_flask.oci.shares import Share

MAY_POSTPONE = "pyoci.may_postpone"
"""Key of the WSGI environ. The value says whether the server handles `NoPlaceError`. Other servers
do not set it."""

STREAMS = "pyoci.streams"
"""Key of the WSGI environ. The value is the `Share` of the registry that sends the body."""

_PATIENCE = 0.5
"""Seconds to wait for a place, which is enough for a burst of requests to a fast registry."""


class NoPlaceError(BaseException):
    """Nothing was done for this request; serve it again when `places()` is positive.

    This class is not derived from `Exception`, so that no error handler catches it.
    """

    def __init__(self, share: Share, places: Callable[[], int]) -> None:
        super().__init__(share)
        self.share = share
        self.places = places


class RegistryGate:
    """Counts the requests that wait for each registry, which is identified by its `Share`.

    A request counts as waiting until its response begins.
    """

    def __init__(self, threads: int, others: int | None = None) -> None:
        """Divide `threads`. Registries that no setting mentions share at most `others` of them.

        Requests waiting for one registry may use at most seven eighths of the free threads; at
        least two stay free. One thread never waits for any registry.
        """
        self._threads = threads
        self._most_others = threads if others is None else max(1, others)
        self._changed = threading.Condition()
        self._waiting: Counter[Share] = Counter()

    def enter(self, share: Share, *, may_postpone: bool | None = None) -> None:
        """Count a request as waiting. Call `leave` when it no longer waits.

        `may_postpone` is the value of `MAY_POSTPONE`. If it is None, this method waits up to half a
        second for a place.

        Raises:
            BusyError: too many requests are already waiting for this registry.
            NoPlaceError: as for `BusyError`, but the request can be served later.
        """
        with self._changed:
            patience = _PATIENCE if may_postpone is None else 0
            if not self._changed.wait_for(lambda: self.places(share) > 0, patience):
                if may_postpone:
                    raise NoPlaceError(share, lambda: self.places(share))
                raise BusyError(
                    "try again in a few seconds: registries are slow to respond, "
                    f"{self._waiting.total()} requests are waiting, {self._waiting[share]} of them "
                    f"for {share.host}"
                )
            self._waiting[share] += 1

    def leave(self, share: Share) -> None:
        """Stop counting a request as waiting."""
        with self._changed:
            self._changed.notify_all()
            self._waiting[share] -= 1
            if not self._waiting[share]:
                del self._waiting[share]

    def places(self, share: Share) -> int:
        """Return how many more requests for this registry may wait."""
        with self._changed:
            here, everywhere = self._waiting[share], self._waiting.total()
            free = self._threads - (everywhere - here)
            room = max(1, self._threads - 1) - everywhere
            if not share.is_named:
                others = sum(count for one, count in self._waiting.items() if not one.is_named)
                free = min(free, self._most_others - (others - here))
                room = min(room, self._most_others - others)
            return max(0, min(room, max(1, free - max(2, free // 8)) - here))
