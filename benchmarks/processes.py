"""Other processes that a run needs, and what the kernel reports about them."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.servers import LOOPBACK, ROOT, environment, wait_until

MASK = "OPENSSL_ia32cap"
"""With it, OpenSSL does without some instructions of the processor."""

_STOP_SECONDS = 30.0
_LOG_TAIL = 4000
_MOST_SECONDS = 600.0


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    environ: Mapping[str, str] | None = None,
    *,
    cwd: Path = ROOT,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in the folder `cwd` from the moment it is `ready` to the end of the block.

    Raises:
        RuntimeError: it ended by itself; the text holds what it logged last.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- the programs of this package
            command,
            cwd=cwd,
            env=environment(log.parent, {**inherited(), **(environ or {})}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: _alive(process, log) and ready())
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def module_command(name: str, *arguments: str) -> list[str]:
    """Return the command of a program of this package."""
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments]


def begin(command: Sequence[str], log: Path) -> "subprocess.Popen[str]":
    """Start a program that writes one JSON document and ends; `result` waits for it."""
    with log.open("wb") as errors:
        return subprocess.Popen(  # noqa: S603 -- the programs of this package
            command,
            cwd=ROOT,
            env=environment(log.parent, inherited()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def result(process: "subprocess.Popen[str]", log: Path) -> Any:  # noqa: ANN401 -- JSON
    """Return what a started program has written.

    Raises: RuntimeError if it failed; the text contains its standard error.
    """
    output, _ = process.communicate(timeout=_MOST_SECONDS)
    if process.returncode:
        raise RuntimeError(f"a client failed:\n{log.read_text(errors='replace')[-_LOG_TAIL:]}")
    return json.loads(output)


def inherited() -> dict[str, str]:
    """Return what programs get from the environment of the run, besides their settings."""
    return {MASK: os.environ[MASK]} if MASK in os.environ else {}


def processor_seconds(processes: Iterable[int]) -> float:
    """Return the processor time that these processes have used, in the kernel and outside of it.

    The kernel counts it in nanoseconds; /proc has the same in hundredths of a second.
    """
    # As clock_getcpuclockid does it, which Python does not have.
    return sum(time.clock_gettime((~process << 3) | 2) for process in processes)


def output_of(*command: str) -> str | None:
    """Return the output of a command, without the white space around it; None if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 -- commands that tell of this machine
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def answers(port: int, path: str) -> bool:
    """Return whether something on this machine answers a request with 200 or 401."""
    with contextlib.closing(http.client.HTTPConnection(LOOPBACK, port, timeout=5)) as probe:
        try:
            probe.request("GET", path, headers={"User-Agent": "benchmark-probe"})
            return probe.getresponse().status in {200, 401}
        except (OSError, http.client.HTTPException):
            return False


class Memory:
    """Return the resident memory of a process, in bytes."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc", str(pid))
        # From here on VmHWM is the peak of what follows, not of the start.
        (self._folder / "clear_refs").write_text("5")
        self.idle = self._read("VmRSS")

    def over_idle(self) -> int:
        """Return the peak since this object was created, minus the memory resident then."""
        return self._read("VmHWM") - self.idle

    def _read(self, name: str) -> int:
        [kib] = re.findall(
            rf"^{name}:\s+(\d+) kB$", (self._folder / "status").read_text(), re.MULTILINE
        )
        return int(kib) * 1024


def _alive(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"it ended at startup:\n{log.read_text(errors='replace')[-_LOG_TAIL:]}")
    return True
