"""Runs COMMAND: its signals, its terminal and its exit status are those of a direct call."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

_FORWARDED = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # Windows, where this module is only imported, has few of them
)
_TYPED = ("SIGINT", "SIGQUIT")
NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit statuses of shells (POSIX, Shell Command Language, 2.8.2)."""
_OF_SIGNALS = 128


def run_command(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command to its end; return its exit status, or 128 and the number of its signal.

    Raises:
        OSError: the command cannot be started.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if signal.Signals(number).name in _TYPED and _has_terminal():
            return  # the terminal has sent it to COMMAND as well
        if child is None:
            early.append(number)
        else:
            _send(child, number)

    for number in _FORWARDED:
        # What the caller ignores (as nohup does) stays ignored, by COMMAND as well.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, forward)
    # If the caller ignores it, the system forgets the exit status of COMMAND.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Open files are passed on, because shells name some in arguments: `pip install -r <(...)`.
    child = subprocess.Popen([*command], env=environ, close_fds=False)  # noqa: S603 - the user's own command
    for missed in early:
        _send(child, missed)
    status = _wait(child)
    return _OF_SIGNALS - status if status < 0 else status


def _send(child: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to COMMAND, unless it has ended or runs as another user (as sudo does)."""
    if child.returncode is None:
        with suppress(OSError):
            os.kill(child.pid, number)


def _wait(child: "subprocess.Popen[bytes]") -> int:
    """Wait until COMMAND ends; whenever it stops, stop as well, so that the shell notices."""
    while True:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode
        # Ctrl-Z stops both processes. If they have been continued since, this report is old.
        continued, _ = os.waitpid(child.pid, os.WCONTINUED | os.WNOHANG)
        if not continued:
            os.kill(os.getpid(), os.WSTOPSIG(status))


def _has_terminal() -> bool:
    """Return whether this process is in the foreground of its terminal."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
