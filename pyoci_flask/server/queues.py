"""Connections that wait: for their client in the main loop, or for a thread of a pool."""

import contextlib
import selectors
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from gunicorn.glogging import Logger

from pyoci_flask.oci.shares import Share
from pyoci_flask.server.client_socket import ClientSocket
from pyoci_flask.server.connection import ClientConnection
from pyoci_flask.web.gate import RegistryGate

_WAIT_FOR_PLACE = 30.0
"""Seconds after which a request whose body has no thread yet is refused."""
_CROWDED = 1.0
"""Seconds that a request waits for a thread before a slow body has to give one up."""
_SLOW = 16 * 1024.0
"""A body that arrives with fewer bytes per second counts as slow."""
_TRIAL = 2.0
"""Seconds of waiting after which the rate of a client is known."""

Begin = Callable[[], object]


class Incoming:
    """Requests with bodies: those that have a thread, and those that wait for one in the pool."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._futures: dict[ClientConnection, Future[object]] = {}

    def add(self, conn: ClientConnection, future: "Future[object]") -> None:
        """Add a request that was given to the pool."""
        self._futures[conn] = future

    def remove(self, conn: ClientConnection) -> None:
        """Remove a request that has been answered."""
        self._futures.pop(conn, None)

    def look(self, now: float) -> None:
        """End slow bodies if others wait for a thread; refuse requests that wait too long."""
        queued = [conn for conn in self._futures if not conn.in_thread]
        crowded = [conn for conn in queued if now - conn.since > _CROWDED]
        if not crowded:
            return
        slow = sorted(
            (conn for conn in self._futures if conn.in_thread and _is_slow(conn.peer)),
            key=lambda conn: conn.peer.receiving.rate if conn.peer.receiving else 0.0,
        )
        for conn in slow[: len(queued)]:
            conn.peer.given_up = True
        late = [conn for conn in queued if now - conn.since > _WAIT_FOR_PLACE]
        refused = [conn for conn in late if self._futures[conn].cancel()]
        for conn in refused:
            conn.refuse("this server is receiving too many uploads; try again later")
        if refused:
            self._log.warning(
                "refused %d uploads, because too many arrived at the same time", len(refused)
            )


def _is_slow(sock: ClientSocket) -> bool:
    patience = sock.receiving
    if patience is None or sock.given_up or patience.waited < _TRIAL:
        return False
    return patience.rate < _SLOW


class Turns:
    """Connections waiting for a thread from a pool, and connections that have one.

    Only a few run at a time, because they compete for CPU time with each other and with the main
    loop. While a thread waits for a registry, the next one may run, as long as that registry uses
    less than its share of the threads.
    """

    def __init__(self, threads: int, at_once: int, stalled: float) -> None:
        """Run `at_once` of `threads`; one that runs for `stalled` seconds counts as waiting."""
        self._threads = threads
        self._at_once = at_once
        self._stalled_after = stalled
        self._gate = RegistryGate(threads + 1, threads // 2)
        self._queue: dict[ClientConnection, tuple[Share | None, Begin]] = {}
        self._begun: dict[ClientConnection, Share | None] = {}
        self._stalled: set[ClientConnection] = set()

    @property
    def are_wanted(self) -> bool:
        """Whether a connection waits for its turn."""
        return bool(self._queue)

    def add(self, conn: ClientConnection, begin: "Begin", share: Share | None = None) -> None:
        """Call `begin` when it is the connection's turn."""
        self._queue[conn] = (share, begin)
        self._next()

    def remove(self, conn: ClientConnection) -> None:
        """End a connection's turn."""
        if conn in self._begun:
            share = self._begun.pop(conn)
            self._stalled.discard(conn)
            if share is not None:
                self._gate.leave(share)
            self._next()

    def look(self, now: float) -> None:
        """Find out which threads are waiting, and start others in their place."""
        self._stalled = {conn for conn in self._begun if now - conn.since > self._stalled_after}
        self._next()

    def _next(self) -> None:
        full: set[Share] = set()
        begun: dict[ClientConnection, Begin] = {}
        for conn, (share, begin) in self._queue.items():
            running = len(self._begun)
            if running >= self._threads or running - len(self._stalled) >= self._at_once:
                break
            if share in full:
                continue
            if share is not None:
                if not self._gate.places(share):
                    full.add(share)
                    continue
                self._gate.enter(share)
            self._begun[conn] = share
            begun[conn] = begin
        for conn in begun:
            del self._queue[conn]
        for begin in begun.values():
            begin()


class Waiting:
    """Connections that wait for the same event, the longest wait first."""

    def __init__(
        self,
        poller: selectors.BaseSelector,
        event: int,
        ready: Callable[[ClientConnection], object],
    ) -> None:
        """Call `ready` in the main loop when a connection is readable or writable."""
        self._poller = poller
        self._event = event
        self._ready = ready
        self._until: dict[ClientConnection, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[ClientConnection]:
        return iter(self._until)

    def add(self, conn: ClientConnection, until: float) -> None:
        """Wait for a connection until `time.monotonic()` is `until`."""
        conn.sock.setblocking(False)
        conn.since = time.monotonic()
        self._until[conn] = until
        self._poller.register(conn.sock, self._event, lambda _: self._on_event(conn))

    def _on_event(self, conn: ClientConnection) -> None:
        # An event handled before this one may have ended the connection.
        if conn in self._until:
            self._ready(conn)

    def remove(self, conn: ClientConnection) -> None:
        """Stop waiting for a connection."""
        del self._until[conn]
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._poller.unregister(conn.sock)

    def postpone(self, conn: ClientConnection, until: float) -> None:
        """Change how long to wait for a connection, and move it to the end."""
        del self._until[conn]
        self._until[conn] = until
        conn.since = time.monotonic()

    def expired(self) -> list[ClientConnection]:
        """Return the connections whose time is over."""
        now = time.monotonic()
        return [conn for conn, until in self._until.items() if until <= now]

    def cap(self, deadline: float) -> None:
        """Wait for all connections no longer than until `deadline`."""
        self._until = {conn: min(until, deadline) for conn, until in self._until.items()}
