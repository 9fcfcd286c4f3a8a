"""The link between the clients and this machine: 1 Gbit/s each way."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.calls import relay
from tests.servers import LOOPBACK

RATE = 1_000_000_000
"""Bits a second."""

_SHAPER = ["root", "tbf", "rate", f"{RATE}bit", "burst", "256kb", "latency", "25ms"]


@dataclass(frozen=True, slots=True)
class Link:
    """How a client's process reaches ports of this machine over the link."""

    description: str
    prefix: tuple[str, ...]
    """Goes in front of a client's command."""
    urls: dict[int, str]
    """By the port of the server."""


@contextlib.contextmanager
def shaped_link(folder: Path, *ports: int) -> Iterator[Link]:
    """Provide a link to these ports, for the time of the block.

    It is a network namespace with one interface that the kernel shapes, if that is available.
    Otherwise it is a relay for each port, which costs processor time that the server could have
    used.
    """
    with contextlib.ExitStack() as stack:
        try:
            link = stack.enter_context(_namespace(*ports))
        except _NoNamespaceError as error:
            link = stack.enter_context(_relays(folder, str(error), *ports))
        yield link


class _NoNamespaceError(Exception):
    """The kernel's own shaping is not available; the text says why."""


@contextlib.contextmanager
def _namespace(*ports: int) -> Iterator[Link]:
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    found = [shutil.which(name, path=path) for name in ("ip", "tc")]
    ip, tc = found
    if ip is None or tc is None:
        raise _NoNamespaceError("iproute2 is not installed")
    if os.geteuid() != 0:
        raise _NoNamespaceError("not root")
    number = os.getpid()
    name, here, there = f"pyoci-{number}", f"po{number}a", f"po{number}b"
    # The range that is reserved for benchmarks (RFC 2544).
    ours, theirs = f"198.18.{number % 256}.1", f"198.18.{number % 256}.2"
    commands = [
        [ip, "link", "add", here, "type", "veth", "peer", "name", there, "netns", name],
        [ip, "address", "add", f"{ours}/30", "dev", here],
        [ip, "link", "set", here, "up"],
        [ip, "-n", name, "address", "add", f"{theirs}/30", "dev", there],
        [ip, "-n", name, "link", "set", there, "up"],
        [tc, "qdisc", "add", "dev", here, *_SHAPER],
        [tc, "-n", name, "qdisc", "add", "dev", there, *_SHAPER],
    ]
    _run([ip, "netns", "add", name])
    try:
        for command in commands:
            _run(command)
        yield Link(
            "a network namespace, veth shaped to 1 Gbit/s each way by tc (tbf)",
            (ip, "netns", "exec", name),
            {port: f"http://{ours}:{port}" for port in ports},
        )
    finally:
        # The other end of the pair, and what shapes both, disappear with the namespace.
        _run([ip, "netns", "delete", name])


@contextlib.contextmanager
def _relays(folder: Path, why: str, *ports: int) -> Iterator[Link]:
    with contextlib.ExitStack() as stack:
        relays = {port: stack.enter_context(relay(folder, port, rate=RATE)) for port in ports}
        yield Link(
            f"a throttling relay at 1 Gbit/s each way on the loopback interface ({why})",
            (),
            {port: f"http://{LOOPBACK}:{one.port}" for port, one in relays.items()},
        )


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 -- ip and tc
    except subprocess.CalledProcessError as error:
        raise _NoNamespaceError(error.stderr.strip() or str(error)) from error
