"""Processes of `pyoci-flask run` for the tests: started, watched and ended."""

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.patience import PATIENCE
from tests.run_lab import lab_environment, run_command

UNUSED = ("--index", "http://localhost:9/acme")
"""Options for commands that need no registry; nothing listens on the port of `discard`."""

_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def default_signals() -> None:
    """Undo what the starter of the tests ignores: nohup one signal, a shell's `&` two others."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def running(
    home: Path,
    *command: str | Path,
    options: Sequence[str | Path] = UNUSED,
    environ: Mapping[str, str] | None = None,
    **popen: Any,  # noqa: ANN401 - the options of Popen
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a command under `run`, without a terminal and in a session of its own.

    Standard input, output and error are pipes unless `popen` says otherwise. At the end, `run` and
    whatever is left of the command are killed, and after `PATIENCE` as well.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(
        run_command(options, *command),
        **{
            "env": lab_environment(home, environ),
            "cwd": home,
            "start_new_session": True,
            "preexec_fn": default_signals,
            **pipes,
            **popen,
        },
    )

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    too_long = threading.Timer(PATIENCE, kill)
    with process:
        try:
            too_long.start()
            yield process
        finally:
            too_long.cancel()
            kill()


def done(
    home: Path,
    *command: str | Path,
    options: Sequence[str | Path] = UNUSED,
    environ: Mapping[str, str] | None = None,
    **popen: Any,  # noqa: ANN401 - the options of `subprocess.run`
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command under `run` to its end. Its output is captured, its input is empty."""
    if "input" not in popen:
        popen.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        run_command(options, *command),
        env=lab_environment(home, environ),
        **{"cwd": home, "capture_output": True, "timeout": PATIENCE, "check": False, **popen},
    )


def line(stream: IO[bytes] | None) -> str:
    """Return the next line of a pipe, without its end; an empty text at its end."""
    assert stream is not None
    return stream.readline().decode().rstrip("\n")


class Terminal:
    """A pseudo-terminal: what is typed, and what is shown."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self._ours, self._theirs = os.openpty()
        self.shown = b""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, size)

    @contextlib.contextmanager
    def session(
        self, home: Path, *command: str | Path, environ: Mapping[str, str] | None = None
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a program whose controlling terminal this is, and kill it at the end."""
        process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *map(str, command)],
            env=lab_environment(home, environ),
            cwd=home,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            preexec_fn=default_signals,
        )
        os.close(self._theirs)
        with process:
            try:
                yield process
            finally:
                process.kill()
                self._read_rest()
                os.close(self._ours)

    def type(self, text: str) -> None:
        """Type a text, or a control character."""
        os.write(self._ours, text.encode())

    def wait_for(self, text: str, after: int = 0) -> int:
        """Wait until a text is shown, `after` this many bytes; return where it ends."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.shown.find(text.encode(), after)) < 0:
            ready, _, _ = select.select([self._ours], [], [], deadline - time.monotonic())
            assert ready, self.shown
            try:
                self.shown += os.read(self._ours, 65536)
            except OSError:  # all programs have closed it
                raise AssertionError(self.shown) from None
        return found + len(text)

    def wait_until_hidden(self, hidden: bool) -> None:
        """Wait until the terminal does not show what is typed (or shows it), as for a password."""
        deadline = time.monotonic() + PATIENCE
        while bool(termios.tcgetattr(self._ours)[3] & termios.ECHO) is hidden:
            assert time.monotonic() < deadline, self.shown
            time.sleep(0.01)

    def _read_rest(self) -> None:
        """Read what is shown until all programs have closed it, or nothing more comes."""
        with contextlib.suppress(OSError):
            while select.select([self._ours], [], [], 0)[0] and (got := os.read(self._ours, 65536)):
                self.shown += got
