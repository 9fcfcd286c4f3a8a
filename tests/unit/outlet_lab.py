"""A client's connection with its outlet, as a worker uses it."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pyoci_flask.server.client_socket import ClientSocket
from pyoci_flask.server.outlet import ClientOutlet
from tests.patience import PATIENCE


@dataclass
class SentResponse:
    """What gunicorn's response knows, after its headers were sent."""

    response_length: int | None
    headers_sent: bool = True
    sent: int = 0


@dataclass
class Client:
    """Both ends of a connection. `received` is complete after `finish`."""

    peer: ClientSocket
    end: socket.socket
    received: bytearray = field(default_factory=bytearray)
    waits: int = 0
    """How often bytes had to wait for the client."""
    reading: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def outlet(self, size: int) -> ClientOutlet:
        """The outlet for a response with this Content-Length."""
        self.peer.begin_answer()
        return ClientOutlet(self.peer, SentResponse(size))

    def start(self) -> None:
        """Begin to read in a thread."""
        self.reading.set()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self.end.recv(1 << 16):
                self.received += chunk

    def take(self, chunks: Iterable[bytes]) -> None:
        """Send what an application yields, as the worker does."""
        for chunk in chunks:
            if chunk:
                self.peer.sendall(chunk)
            while not self.peer.flush():
                self.waits += 1
                if not self.reading.is_set():
                    self.start()
                waiting = select.poll()
                waiting.register(self.peer, select.POLLOUT)
                assert waiting.poll(PATIENCE * 1000)

    def finish(self) -> bytes:
        """Close the server's end, and return what has arrived at the client's."""
        if self._thread is None:
            self.start()
        self.peer.close()
        assert self._thread is not None
        self._thread.join(PATIENCE)
        return bytes(self.received)


@contextlib.contextmanager
def connected() -> Iterator[Client]:
    """Connect a client, which reads when something has to wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        end = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    end.settimeout(PATIENCE)
    with end, ClientSocket(accepted, PATIENCE) as peer:
        client = Client(peer, end)
        try:
            yield client
        finally:
            client.finish()
