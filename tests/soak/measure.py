"""What a soak test measures of a server's processes: memory, open files, threads; its verdict."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_GROWTH = 1024 * 1024
"""Bytes of memory a minute, all processes of the server together."""
MOST_MORE = 5
"""Open files, and threads, of all processes together above their number after the warm-up.

In a single process these vary: a client that reconnects may reach another worker.
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process uses."""

    pid: int
    memory: int
    """Bytes of resident memory that are not shared."""
    files: int
    threads: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The usage of all processes at one moment; `minute` since the start."""

    minute: float
    processes: tuple[Usage, ...]

    @property
    def memory(self) -> int:
        """Return the bytes of all processes."""
        return sum(process.memory for process in self.processes)

    def __str__(self) -> str:
        held = ", ".join(f"{one.files} files {one.threads} threads" for one in self.processes)
        return f"minute {self.minute:4.1f}: {self.memory / 2**20:7.1f} MiB; {held}"


def usage(pid: int) -> Usage:
    """Read it from /proc."""
    folder = Path("/proc", str(pid))
    status = (folder / "status").read_text()
    [memory] = re.findall(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    [threads] = re.findall(r"^Threads:\s+(\d+)$", status, re.MULTILINE)
    files = sum(1 for _ in (folder / "fd").iterdir())
    return Usage(pid, int(memory) * 1024, files, int(threads))


def growth(samples: Sequence[Sample]) -> float:
    """Return the bytes of memory a minute: the slope of a least-squares fit."""
    minutes = [sample.minute for sample in samples]
    memory = [sample.memory for sample in samples]
    middle, mean = sum(minutes) / len(minutes), sum(memory) / len(memory)
    spread = sum((minute - middle) ** 2 for minute in minutes)
    both = zip(minutes, memory, strict=True)
    return sum((minute - middle) * (size - mean) for minute, size in both) / spread


def faults(samples: Sequence[Sample]) -> list[str]:
    """Compare samples of a warm server with the limits; an empty list means success.

    There must be at least two, in order.
    """
    found = []
    slope = growth(samples)
    if slope >= MOST_GROWTH:
        found.append(f"memory grows by {slope / 2**20:.2f} MiB a minute")
    first = {process.pid for process in samples[0].processes}
    for sample in samples[1:]:
        if {process.pid for process in sample.processes} != first:
            found.append(f"minute {sample.minute:.1f}: another set of processes")
            break
        for what in ("files", "threads"):
            begun, now = (
                sum(getattr(process, what) for process in one.processes)
                for one in (samples[0], sample)
            )
            if now > begun + MOST_MORE:
                found.append(
                    f"minute {sample.minute:.1f}: {now} {what}, {begun} when they were warm"
                )
    return found
