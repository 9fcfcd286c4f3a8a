"""Connections on which a worker's main loop waits, without a thread."""

import contextlib
import selectors
import time
from collections.abc import Callable, Iterator

from pyoci_flask.server.connection import ClientConnection


class Waiting:
    """Connections that wait for the same thing, the one that began first in front."""

    def __init__(
        self,
        poller: selectors.BaseSelector,
        event: int,
        ready: Callable[[ClientConnection], object],
    ) -> None:
        """Call `ready` in the main loop when a connection can be read or written."""
        self._poller = poller
        self._event = event
        self._ready = ready
        self._until: dict[ClientConnection, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[ClientConnection]:
        return iter(self._until)

    def __contains__(self, conn: object) -> bool:
        return conn in self._until

    def add(self, conn: ClientConnection, until: float) -> None:
        """Wait for a connection until `time.monotonic()` is `until`."""
        conn.sock.setblocking(False)
        conn.since = time.monotonic()
        self._until[conn] = until
        self._poller.register(conn.sock, self._event, lambda _: self._on_event(conn))

    def _on_event(self, conn: ClientConnection) -> None:
        # Among the events of one look another may have ended this connection.
        if conn in self._until:
            self._ready(conn)

    def remove(self, conn: ClientConnection) -> None:
        """Wait no longer."""
        del self._until[conn]
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._poller.unregister(conn.sock)

    def postpone(self, conn: ClientConnection, until: float) -> None:
        """Wait for a connection until another time, and behind the others."""
        del self._until[conn]
        self._until[conn] = until
        conn.since = time.monotonic()

    def expired(self) -> list[ClientConnection]:
        """Return those whose time is over."""
        now = time.monotonic()
        return [conn for conn, until in self._until.items() if until <= now]

    def cap(self, deadline: float) -> None:
        """Wait for none of them longer than to `deadline`."""
        self._until = {conn: min(until, deadline) for conn, until in self._until.items()}
