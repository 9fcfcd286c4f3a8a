"""Ports for the servers of tests, none of them given out twice.

What an application remembers of a registry it keeps by the registry's address: a test's server on
the port of an earlier one would be met with what that one was like.
"""

import itertools
import os
import random
import re
import socket
import threading

LOOPBACK = "127.0.0.1"

_FIRST, _EACH = 10_000, 3_500
"""Below the ports that systems give to outgoing connections; so many for each test process."""

_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % 6
_start = random.randrange(_EACH)
_ports = itertools.cycle(
    _FIRST + _worker * _EACH + (_start + number) % _EACH for number in range(_EACH)
)
_lock = threading.Lock()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
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
