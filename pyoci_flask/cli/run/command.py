"""Runs COMMAND: its signals, its terminal and its exit status are those of a direct call."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType


def _present(*names: str) -> tuple[int, ...]:
    """Return the numbers of signals. Windows, where this module is only imported, has few."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


_FORWARDED = _present("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP")
_TYPED = _present("SIGINT", "SIGQUIT", "SIGTSTP")
_OF_BACKGROUND = _present("SIGTTIN", "SIGTTOU")
"""The terminal sends them to COMMAND as well, when it is used from the background."""
_STOPPING = _present("SIGTSTP", "SIGTTIN", "SIGTTOU")
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
        if number in _OF_BACKGROUND or (number in _TYPED and _has_terminal()):
            return  # the terminal has sent it to COMMAND as well
        if child is None:
            early.append(number)
        else:
            _send(child, number)

    # What the caller ignores (as nohup does) stays ignored, by COMMAND as well.
    handled = [
        number
        for number in (*_FORWARDED, *_OF_BACKGROUND)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, forward) for number in handled}
    # If the caller ignored this one, the system would forget the exit status of COMMAND.
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    # A signal that arrives just before a wait begins would not end it. This pipe has its number.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        # Open files are passed on, because shells name some in arguments: `cat <(...)`.
        child = subprocess.Popen([*command], env=environ, close_fds=False)  # noqa: S603 - the user's own command
        for missed in early:
            _send(child, missed)
        status = _wait(child, reading)
    finally:
        signal.set_wakeup_fd(woken)
        os.close(reading)
        os.close(writing)
        for number, handler in before.items():
            signal.signal(number, handler)
    return _OF_SIGNALS - status if status < 0 else status


def _send(child: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to COMMAND, unless it has ended or runs as another user (as sudo does)."""
    if child.returncode is None:
        with suppress(OSError):
            os.kill(child.pid, number)


def _wait(child: "subprocess.Popen[bytes]", signals: int) -> int:
    """Wait until COMMAND ends; whenever it stops, stop as well, so that the shell notices.

    `signals` is a pipe to which each signal writes.

    This process stops after COMMAND and never by itself. Otherwise, it could see only after both
    have been continued that COMMAND was stopped, and stop once more.
    """
    while True:
        changed, status = os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)
        if not changed:
            os.read(signals, 4096)  # waits for a signal, and thus for SIGCHLD
            continue
        if not os.WIFSTOPPED(status):
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode
        number = os.WSTOPSIG(status)
        if number in _STOPPING:  # and not SIGSTOP, with which others pause COMMAND alone
            handler = signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            signal.signal(number, handler)


def _has_terminal() -> bool:
    """Return whether this process is in the foreground of its terminal."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
