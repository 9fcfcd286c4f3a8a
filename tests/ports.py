"""Ports for the servers of tests, none of them used twice.

An application remembers facts about a registry by the registry's address. If a test's server got
the port of an earlier one, the application would apply what it remembers of that one.
"""

import itertools
import os
import random
import re
import socket
import threading

LOOPBACK = "127.0.0.1"

_FIRST, _EACH = 10_000, 3_500
"""Below the ports that systems use for outgoing connections; this many for each test process."""

_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % 6
_start = random.randrange(_EACH)
_ports = itertools.cycle(
    _FIRST + _worker * _EACH + (_start + number) % _EACH for number in range(_EACH)
)
_lock = threading.Lock()


def free_port() -> int:
    """Return a port of the loopback interface that no program listens on."""
    while True:
        with _lock:
            port = next(_ports)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
