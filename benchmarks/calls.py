"""The calls that passed a relay, and how many of them ran one after the other."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import module_command, running
from tests.ports import free_port
from tests.servers import LOOPBACK


@dataclass(frozen=True, slots=True)
class Call:
    """One exchange as its client saw it; times are in seconds of the same clock."""

    line: str
    """The first line of the request."""
    connection: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class RunningRelay:
    """A relay to a port of this machine."""

    port: int
    log: Path | None

    @property
    def url(self) -> str:
        """Its address on the loopback interface."""
        return f"http://{LOOPBACK}:{self.port}"

    def calls(self, since: float = 0.0) -> list[Call]:
        """Return the calls that began at `since` (of `time.monotonic`) or later."""
        if self.log is None:
            return []
        lines = self.log.read_text().splitlines()
        return [call for call in read_calls(lines) if call.start >= since]


def read_calls(lines: Iterable[str]) -> list[Call]:
    """Read the lines of a relay's log; return the calls in the order in which they began.

    A call begins with the first piece that a client sends after a response: no client here sends a
    request before it has the response to the last one.
    """
    open_calls: dict[int, Call] = {}
    answered: defaultdict[int, bool] = defaultdict(lambda: True)
    done: list[Call] = []
    for text in lines:
        connection, kind, at, line = json.loads(text)
        if kind == "request":
            if answered[connection]:
                if connection in open_calls:
                    done.append(open_calls[connection])
                open_calls[connection] = Call(line, connection, at, at)
            answered[connection] = False
        elif connection in open_calls:
            call = open_calls[connection]
            open_calls[connection] = Call(call.line, connection, call.start, at)
            answered[connection] = True
    return sorted([*done, *open_calls.values()], key=lambda call: call.start)


def connections(calls: Iterable[Call], before: Iterable[Call]) -> int:
    """Return how many connections were opened for these calls, after those `before` them."""
    return len({call.connection for call in calls} - {call.connection for call in before})


def longest_chain(calls: Iterable[Call]) -> list[Call]:
    """Return the most calls of which each began only after the previous one had ended."""
    chain: list[Call] = []
    for call in sorted(calls, key=lambda call: call.end):
        if not chain or call.start >= chain[-1].end:
            chain.append(call)
    return chain


@contextlib.contextmanager
def relay(
    folder: Path,
    target: int,
    *,
    delay: float = 0.0,
    rate: float | None = None,
    logged: bool = False,
    port: int | None = None,
) -> Iterator[RunningRelay]:
    """Relay a port of this machine to the port `target` until the block ends.

    `delay` is the seconds of a round trip, `rate` bits a second each way.
    """
    port = port or free_port()
    log = folder / f"relay-{port}.calls" if logged else None
    options = ["--port", str(port), "--target", str(target), "--delay", str(delay * 1000)]
    options += ["--rate", str(rate)] if rate is not None else []
    options += ["--log", str(log)] if log is not None else []

    def listens() -> bool:
        # Not by connecting: the relay would forward it, and the target may not be running yet.
        wanted = f":{port:04X}"
        sockets = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return any(line.split()[1].endswith(wanted) and line.split()[3] == "0A" for line in sockets)

    with running(module_command("relay", *options), folder / f"relay-{port}.log", listens):
        yield RunningRelay(port, log)
