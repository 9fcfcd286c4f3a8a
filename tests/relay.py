"""A relay of TCP connections that counts bytes and can break a connection."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.patience import PATIENCE
from tests.servers import LOOPBACK

_CHUNK = 64 * 1024


@dataclass(slots=True)
class Relay:
    """A relay at `url`; safe to read while it runs."""

    url: str
    cut_after: int | None
    """Bytes sent to the client after which the first connection that reaches them is closed."""
    served: int = 0
    """Bytes that the server behind the relay has sent, including headers."""
    cuts: int = 0
    """Connections that were closed because of `cut_after`: at most one."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def room(self, passed: int, arrived: int) -> int:
        """Return how many of the bytes that arrived may pass after this many have passed."""
        with self.lock:
            self.served += arrived
            if self.cut_after is None or self.cuts or passed + arrived <= self.cut_after:
                return arrived
            self.cuts += 1
            return self.cut_after - passed


@contextlib.contextmanager
def relay(port: int, *, cut_after: int | None = None) -> Iterator[Relay]:
    """Relay connections to `port` of the loopback interface until the block ends."""
    with socket.create_server((LOOPBACK, 0), backlog=64) as listener:
        state = Relay(f"http://{LOOPBACK}:{listener.getsockname()[1]}", cut_after)
        threads: list[threading.Thread] = []
        opened: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.create_connection((LOOPBACK, port), timeout=PATIENCE)
                client.settimeout(PATIENCE)
                opened.extend((client, server))
                for target in (_forward, _backward):
                    threads.append(threading.Thread(target=target, args=(client, server, state)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield state
        finally:
            # Closing alone would leave accept() waiting.
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for each in opened:
                _end(each)
            for thread in threads:
                thread.join()
            for each in opened:
                each.close()


def _forward(client: socket.socket, server: socket.socket, _: Relay) -> None:
    with contextlib.suppress(OSError):
        while data := client.recv(_CHUNK):
            server.sendall(data)
    _end(server)


def _backward(client: socket.socket, server: socket.socket, state: Relay) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while data := server.recv(_CHUNK):
            room = state.room(passed, len(data))
            client.sendall(data[:room])
            passed += room
            if room < len(data):
                break
    _end(client)
    _end(server)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
