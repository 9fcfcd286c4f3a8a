"""Runs COMMAND: its signals, its terminal and its exit status are those of a direct call."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_TYPED = frozenset({signal.SIGINT, signal.SIGQUIT})
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
        if number in _TYPED and _has_terminal():
            return  # the terminal has sent it to COMMAND as well
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    for number in _FORWARDED:
        # What the caller ignores (as nohup does) stays ignored, by COMMAND as well.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, forward)
    child = subprocess.Popen([*command], env=environ)  # noqa: S603 - the user's own command
    for missed in early:
        child.send_signal(missed)
    status = child.wait()
    return _OF_SIGNALS - status if status < 0 else status


def _has_terminal() -> bool:
    """Return whether this process is in the foreground of its terminal."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
