"""What keeps the number of the series of metrics small."""

import threading
from http import HTTPStatus

KNOWN_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"}
)
_STATUSES = frozenset(HTTPStatus)
HOSTS_LIMIT = 100
"""Distinct registry hosts in the metrics of one worker."""
UNANSWERED_HOSTS_LIMIT = 10
"""How many of them may be hosts that had never answered when they were first called."""
OTHER_HOST = "_other"

# Seconds. Downloads of large files end in the last ones.
BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


def known_method(method: str) -> str:
    """Give a method of RFC 9110 or 5789 back and `_OTHER` for any other text."""
    return method if method in KNOWN_METHODS else "_OTHER"


def is_known_status(status: int) -> bool:
    """Tell whether HTTP defines a status: a registry may send any of nine hundred."""
    return status in _STATUSES


def status_label(status: int | None) -> str:
    """Return the status of an answer, or `error` where there was none.

    Of those that HTTP does not define, the class (`5xx`).
    """
    if status is None:
        return "error"
    return str(status) if is_known_status(status) else f"{status // 100}xx"


class Hosts:
    """Admits hosts as metric attributes, first come, first served.

    On a server without an allow-list of registries anybody can make it call any name. Names
    behind which nobody answers are cheap to make up, so they get a small share of the places.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._unanswered = 0

    def label(self, host: str, *, answered: bool) -> str:
        """Return the host, or `OTHER_HOST` where there are too many."""
        with self._lock:
            if host in self._known:
                return host
            if len(self._known) >= HOSTS_LIMIT:
                return OTHER_HOST
            if not answered:
                if self._unanswered >= UNANSWERED_HOSTS_LIMIT:
                    return OTHER_HOST
                self._unanswered += 1
            self._known.add(host)
            return host
