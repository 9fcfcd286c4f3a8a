"""Clients that load a server, in a separate process; the result is written as JSON.

They are bare sockets with a thread each, so that they use as little of the machine as possible.
"""

import argparse
import itertools
import json
import math
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_SECONDS = 300.0
_CHUNK = 256 * 1024
_HEADERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and their target."""

    address: tuple[str, int]
    request: bytes

    @classmethod
    def of(cls, url: str, accept: str | None, *, close: bool = False) -> "Target":
        """Return a GET of this URL."""
        parts = urlsplit(url)
        lines = [
            f"GET {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc}",
            *([f"Accept: {accept}"] if accept else []),
            *(["Connection: close"] if close else []),
        ]
        request = "".join(f"{line}\r\n" for line in lines) + "\r\n"
        return cls((parts.hostname or "", parts.port or 80), request.encode())

    def connect(self) -> socket.socket:
        """Open a connection."""
        sock = socket.create_connection(self.address, timeout=_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def get(self, sock: socket.socket, buffer: bytearray, rate: float | None = None) -> int:
        """Make the request and read the answer; the bytes of its body.

        `rate` is the bytes a second beyond which it does not read: after each piece it sleeps
        until so many would have come, and the window does the rest.

        Raises:
            RuntimeError: the answer is another than 200, or not whole.
        """
        sock.sendall(self.request)
        head = sock.recv(_HEADERS)
        while (end := head.find(b"\r\n\r\n")) < 0:
            piece = sock.recv(_HEADERS)
            if not piece:
                raise RuntimeError(f"no response: {head!r}")
            head += piece
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head[:200].decode("latin-1"))
        size = _content_length(head[:end])
        got, begun = len(head) - end - 4, time.perf_counter()
        while got < size:
            arrived = sock.recv_into(buffer)
            if not arrived:
                raise RuntimeError(f"the response ended after {got} bytes of {size}")
            got += arrived
            if rate is not None:
                time.sleep(max(0.0, begun + got / rate - time.perf_counter()))
        return size


def pages(target: Target, clients: int, seconds: float) -> dict[str, float]:
    """Run clients, each on one connection, that repeat the request until the time is over."""
    until = time.perf_counter() + seconds
    taken: list[list[float]] = [[] for _ in range(clients)]

    def run(number: int) -> None:
        buffer = bytearray(_CHUNK)
        with target.connect() as sock:
            while (begun := time.perf_counter()) < until:
                target.get(sock, buffer)
                taken[number].append(time.perf_counter() - begun)

    elapsed = _side_by_side(clients, run)
    return {"rate": sum(map(len, taken)) / elapsed, **_spread([*itertools.chain(*taken)])}


def downloads(
    target: Target, clients: int, rate: float | None, seconds: float | None, spread: float
) -> dict[str, float]:
    """Run clients that each download once, or as often as they can begin within `seconds`.

    Their starts are spread over `spread` seconds.
    """
    until = time.perf_counter() + (seconds or 0.0)
    got = [0] * clients
    rates = [0.0] * clients

    def run(number: int) -> None:
        buffer = bytearray(_CHUNK)
        time.sleep(spread * number / clients)
        begun = time.perf_counter()
        with target.connect() as sock:
            got[number] += target.get(sock, buffer, rate)
            while seconds is not None and time.perf_counter() < until:
                got[number] += target.get(sock, buffer, rate)
        rates[number] = got[number] / (time.perf_counter() - begun)

    elapsed = _side_by_side(clients, run)
    return {"rate": sum(got) / elapsed, "of_each": statistics.fmean(rates)}


def probes(target: Target, seconds: float, pause: float) -> dict[str, float]:
    """Ask every `pause` seconds on a new connection, as health checks do."""
    taken: list[float] = []
    buffer = bytearray(_CHUNK)
    until = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until:
        with target.connect() as sock:
            target.get(sock, buffer)
        taken.append(time.perf_counter() - begun)
        time.sleep(max(0.0, pause - taken[-1]))
    return _spread(taken)


def _side_by_side(clients: int, run: Callable[[int], None]) -> float:
    """Run it in this many threads; return the seconds until all have ended."""
    failures: list[Exception] = []

    def guarded(number: int) -> None:
        try:
            run(number)
        except (OSError, RuntimeError) as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"{len(failures)} of {clients} clients failed: {failures[0]!r}")
    return time.perf_counter() - begun


def _spread(taken: Sequence[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        "count": len(ordered),
        "median": statistics.median(ordered),
        "p99": ordered[math.ceil(0.99 * len(ordered)) - 1],
        "longest": ordered[-1],
    }


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("a response without Content-Length")


def main() -> None:
    """Run one kind of client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["pages", "downloads", "probes"])
    parser.add_argument("url")
    parser.add_argument("--accept")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float, help="bytes a second of each download")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds until all have begun")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between probes")
    given = parser.parse_args()
    target = Target.of(given.url, given.accept, close=given.kind == "probes")
    if given.kind == "downloads":
        found = downloads(target, given.clients, given.rate, given.seconds, given.spread)
    elif given.kind == "pages":
        found = pages(target, given.clients, given.seconds)
    else:
        found = probes(target, given.seconds, given.pause)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
