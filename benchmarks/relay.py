"""A program that relays TCP connections over a link with a given delay and rate.

Half the delay is added in each direction. As on a real link, pieces that follow each other closely
also arrive closely, so the delay does not limit throughput, and a new connection costs one round
trip before its first byte. The rate, in bits a second, is shared by all connections of a direction.
With `--log`, a line of JSON is written for every piece that passes, from which `benchmarks.calls`
reads the calls.
"""

import argparse
import asyncio
import json
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import IO

from tests.servers import LOOPBACK

Note = Callable[[str, bytes], None]

_IN_FLIGHT = 16 * 1024 * 1024
"""Bytes on the way in one direction of a connection before its sender has to wait."""


class Lane:
    """One direction of the link; all connections share its rate."""

    def __init__(self, delay: float, rate: float | None) -> None:
        self._delay = delay
        self._rate = rate
        self._free = 0.0

    def arrival(self, sent: float, size: int) -> float:
        """Return when this many bytes that were sent at `sent` have all arrived, in seconds."""
        if self._rate is not None:
            self._free = max(sent, self._free) + size * 8 / self._rate
            sent = self._free
        return sent + self._delay


class Side(asyncio.Protocol):
    """One end of a relayed connection: it passes what it receives to the other end in time."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[Callable[[], None]] = deque()
        self._in_flight = 0
        self.other: Side | None = None
        self.transport: asyncio.Transport | None = None
        self.earliest = 0.0
        """Return when the first byte can be sent, in seconds of the loop's clock."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write data from the other end."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Send the data on its way; stop reading while too much is in transit."""
        self._in_flight += len(data)
        if self._in_flight > _IN_FLIGHT and self.transport is not None:
            self.transport.pause_reading()
        self._send(len(data), lambda: self.arrive(data))

    def eof_received(self) -> bool:
        """End the transfer after the bytes; the other direction stays open."""
        self._send(0, lambda: self._other_transport(asyncio.Transport.write_eof))
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Close the other end once everything has arrived."""
        self._send(0, lambda: self._other_transport(asyncio.Transport.close))

    def pause_writing(self) -> None:
        """Stop the other end from reading: this end accepts nothing more for now."""
        self._other_transport(asyncio.Transport.pause_reading)

    def resume_writing(self) -> None:
        """Let the other end read again."""
        self._other_transport(asyncio.Transport.resume_reading)

    def arrive(self, data: bytes) -> None:
        """Handle bytes that have come to the other end."""
        self._in_flight -= len(data)
        self._other_transport(lambda transport: transport.write(data))
        if self._in_flight <= _IN_FLIGHT and self.transport is not None:
            self.transport.resume_reading()

    def _send(self, size: int, arrival: Callable[[], None]) -> None:
        sent = max(self._loop.time(), self.earliest)
        # The loop does not keep the order of callbacks that are due at the same time.
        self._under_way.append(arrival)
        self._loop.call_at(self._lane.arrival(sent, size), lambda: self._under_way.popleft()())

    def _other_transport(self, action: Callable[[asyncio.Transport], None]) -> None:
        if self.other is not None and self.other.transport is not None:
            action(self.other.transport)


class ClientSide(Side):
    """The end at which calls begin: the log has each piece when the client sends it."""

    def __init__(self, lane: Lane, note: Note, opened: Callable[["ClientSide"], None]) -> None:
        super().__init__(lane)
        self.note = note
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the other half; nothing is read before there is somewhere to send it."""
        super().connection_made(transport)
        if self.transport is not None:
            self.transport.pause_reading()
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        """Send the data on its way."""
        self.note("request", data)
        super().data_received(data)


class ServerSide(Side):
    """The end that answers: the log has each piece when the client gets it."""

    def __init__(self, lane: Lane, client: ClientSide) -> None:
        super().__init__(lane)
        self.other = client
        self._note = client.note

    def arrive(self, data: bytes) -> None:
        """Handle bytes that have come to the client."""
        self._note("response", data)
        super().arrive(data)


class Relay:
    """Accepts connections and opens one to the target for each."""

    def __init__(self, target: int, delay: float, rate: float | None, log: IO[str] | None) -> None:
        self._target = target
        self._delay = delay
        self._there, self._back = Lane(delay / 2, rate), Lane(delay / 2, rate)
        self._log = log
        self._connections = 0
        self._opening: set[asyncio.Task[None]] = set()

    def accept(self) -> ClientSide:
        """Return the client's side of a new connection."""
        self._connections += 1
        client = ClientSide(self._there, self._noting(self._connections), self._open)
        client.earliest = asyncio.get_running_loop().time() + self._delay
        return client

    def _open(self, client: ClientSide) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(client))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, client: ClientSide) -> None:
        server = ServerSide(self._back, client)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: server, LOOPBACK, self._target)
        except OSError:
            if client.transport is not None:
                client.transport.abort()
            return
        client.other = server
        if client.transport is not None:
            client.transport.resume_reading()

    def _noting(self, connection: int) -> Note:
        log = self._log
        if log is None:
            return lambda _kind, _data: None

        def note(kind: str, data: bytes) -> None:
            line = data.split(b"\r\n", 1)[0][:300].decode("latin-1") if kind == "request" else ""
            log.write(json.dumps([connection, kind, time.monotonic(), line]) + "\n")
            log.flush()

        return note


async def _serve(port: int, relay: Relay) -> None:
    server = await asyncio.get_running_loop().create_server(relay.accept, None, port)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds of a round trip")
    parser.add_argument("--rate", type=float, help="bits a second, each way")
    parser.add_argument("--log", type=argparse.FileType("a"))
    given = parser.parse_args()
    relay = Relay(given.target, given.delay / 1000, given.rate, given.log)
    # epoll rounds every wait up to a whole millisecond.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(_serve(given.port, relay))


if __name__ == "__main__":
    main()
