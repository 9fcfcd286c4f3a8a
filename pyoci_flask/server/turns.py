"""Who has a thread of a worker: requests in turn, and bodies that come in."""

from collections.abc import Callable
from concurrent.futures import Future
from logging import Logger

from pyoci_flask.oci.shares import Share
from pyoci_flask.server.client_socket import ClientSocket
from pyoci_flask.server.connection import ClientConnection
from pyoci_flask.web.gate import RegistryGate

_WAIT_FOR_PLACE = 30.0
"""Seconds after which a request whose body has no thread yet is refused."""
_CROWDED = 1.0
"""Seconds without a thread after which a slow body makes place."""
_SLOW = 16 * 1024.0
"""Bytes a second under which a body is slow."""
_TRIAL = 2.0
"""Seconds of waiting for a client after which its rate is known."""

Begin = Callable[[], object]


class Incoming:
    """Requests with bodies: those that have a thread, and those that wait for one in the pool."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._futures: dict[ClientConnection, Future[object]] = {}

    def add(self, conn: ClientConnection, future: "Future[object]") -> None:
        """Take note of a request that was given to the pool."""
        self._futures[conn] = future

    def remove(self, conn: ClientConnection) -> None:
        """Forget a request that has been answered."""
        self._futures.pop(conn, None)

    def look(self, now: float) -> None:
        """Let slow bodies make place for requests that wait, and refuse those that wait long."""
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
            conn.refuse("this server is receiving too many uploads; try again")
        if refused:
            self._log.warning("refused %d uploads: too many come in at once", len(refused))


def _is_slow(sock: ClientSocket) -> bool:
    patience = sock.receiving
    if patience is None or sock.given_up or patience.waited < _TRIAL:
        return False
    return patience.rate < _SLOW


class Turns:
    """Connections that want a thread of a pool, and those that have one.

    Few have their turn at once: each wants the processor, and many would keep it from each other
    and from the main loop. One whose thread waits for a registry makes place for the next, as long
    as that registry has less than its share of the threads.
    """

    def __init__(self, threads: int, at_once: int, stalled: float) -> None:
        """Share out `threads`, `at_once` to begin with; one `stalled` seconds old is waiting."""
        self._threads = threads
        self._at_once = at_once
        self._stalled_after = stalled
        self._gate = RegistryGate(threads + 1, threads // 2)
        self._queue: dict[ClientConnection, tuple[Share | None, Begin]] = {}
        self._begun: dict[ClientConnection, Share | None] = {}
        self._stalled: set[ClientConnection] = set()

    @property
    def are_wanted(self) -> bool:
        """Whether some wait for their turn."""
        return bool(self._queue)

    def add(self, conn: ClientConnection, begin: "Begin", share: Share | None = None) -> None:
        """Call `begin` as soon as it is the connection's turn."""
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
        """See which threads are waiting."""
        self._stalled = {conn for conn in self._begun if now - conn.since > self._stalled_after}
        self._next()

    def _next(self) -> None:
        full: set[Share] = set()
        begun: list[Begin] = []
        for conn, (share, begin) in self._queue.items():
            if len(self._begun) - len(self._stalled) >= self._at_once:
                break
            if share in full or len(self._begun) >= self._threads:
                continue
            if share is not None:
                if not self._gate.places(share):
                    full.add(share)
                    continue
                self._gate.enter(share)
            self._begun[conn] = share
            begun.append(begin)
        for conn in list(self._begun):
            self._queue.pop(conn, None)
        for begin in begun:
            begin()
