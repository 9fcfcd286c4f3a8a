"""How many of a worker's threads may wait for one registry, so that others have some left."""

import threading
from collections import Counter
from collections.abc import Callable

from pyoci_flask.errors import BusyError
from pyoci_flask.oci.shares import Share

MAY_POSTPONE = "pyoci.may_postpone"
"""Key of the WSGI environ: whether the server takes a `NoPlaceError`. Not there: it does not."""

STREAMS = "pyoci.streams"
"""Key of the WSGI environ: the `Share` of the registry that the answer's body comes from."""

_PATIENCE = 0.5
"""Seconds: a burst at a registry that answers soon finds places, at a slow one it does not."""


class NoPlaceError(BaseException):
    """Serve this request again when `places()` is positive; nothing has been done for it.

    Not an `Exception`, as no error handler has to answer it.
    """

    def __init__(self, share: Share, places: Callable[[], int]) -> None:
        super().__init__(share)
        self.share = share
        self.places = places


class RegistryGate:
    """Counts the requests that wait for a registry, by the `Share` that it belongs to.

    A request counts until its answer begins.
    """

    def __init__(self, threads: int, others: int | None = None) -> None:
        """Share out `threads`; `others` of them to the registries that no setting names.

        Requests for one registry may have seven eighths of the threads that do not wait for
        others; two at least stay free. One stays free of all registries.
        """
        self._threads = threads
        self._most_others = threads if others is None else max(1, others)
        self._changed = threading.Condition()
        self._waiting: Counter[Share] = Counter()

    def enter(self, share: Share, *, may_postpone: bool | None = None) -> None:
        """Count a request in; each needs its `leave`.

        `may_postpone` is what the server says in `MAY_POSTPONE`: where it says nothing, the
        thread waits for a place for half a second.

        Raises:
            BusyError: the registry has its share of threads waiting already.
            NoPlaceError: the same, and the request may be served later.
        """
        with self._changed:
            patience = _PATIENCE if may_postpone is None else 0
            if not self._changed.wait_for(lambda: self._places(share) > 0, patience):
                if may_postpone:
                    raise NoPlaceError(share, lambda: self.places(share))
                raise BusyError(
                    f"registries are slow to answer: {self._waiting.total()} requests wait, "
                    f"{self._waiting[share]} of them for {share.host}; try again"
                )
            self._waiting[share] += 1

    def leave(self, share: Share) -> None:
        """Count a request out."""
        with self._changed:
            self._changed.notify_all()
            self._waiting[share] -= 1
            if not self._waiting[share]:
                del self._waiting[share]

    def places(self, share: Share) -> int:
        """Return how many more requests for this registry may wait."""
        with self._changed:
            return self._places(share)

    def _places(self, share: Share) -> int:
        here, everywhere = self._waiting[share], self._waiting.total()
        free = self._threads - (everywhere - here)
        room = max(1, self._threads - 1) - everywhere
        if not share.is_named:
            others = sum(count for one, count in self._waiting.items() if not one.is_named)
            free = min(free, self._most_others - (others - here))
            room = min(room, self._most_others - others)
        return max(0, min(room, max(1, free - max(2, free // 8)) - here))
