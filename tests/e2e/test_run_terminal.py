"""A command under `run` on a terminal: what is typed, job control, prompts, the window's size."""

import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.run_lab import run_command
from tests.run_process import UNUSED, Terminal

_COUNT = """
import os, signal, sys
def show(number, frame):
    os.write(1, f"<{signal.Signals(number).name}>\\n".encode())
for name in ("SIGINT", "SIGQUIT", "SIGTERM"):
    signal.signal(getattr(signal, name), show)
print("ready", flush=True)
for line in sys.stdin:
    print("read", line.strip(), flush=True)
    if line.strip() == "end":
        sys.exit(9)
"""
_SHELL = ("bash", "--norc", "--noprofile", "--noediting", "-bi")
"""A shell with job control that says at once which job has stopped."""


def _under_run(*command: str) -> list[str]:
    return run_command(UNUSED, *command)


@pytest.mark.parametrize(
    ("key", "name"), [("\x03", "SIGINT"), ("\x1c", "SIGQUIT")], ids=["Ctrl-C", "Ctrl-backslash"]
)
def test_a_typed_signal_reaches_the_command_once(tmp_path: Path, key: str, name: str) -> None:
    terminal = Terminal()
    with terminal.session(tmp_path, *_under_run(sys.executable, "-c", _COUNT)) as process:
        terminal.wait_for("ready")
        terminal.type(key)
        end = terminal.wait_for(f"<{name}>")
        # A second signal from `run` would be shown before the answer to what is typed now.
        terminal.type("more\n")
        end = terminal.wait_for("read more", end)
        terminal.type(key)
        end = terminal.wait_for(f"<{name}>", end)
        terminal.type("end\n")
        assert process.wait() == 9
    assert terminal.shown.count(f"<{name}>".encode()) == 2


def test_a_typed_interrupt_that_ends_the_command_ends_run_with_its_status(tmp_path: Path) -> None:
    terminal = Terminal()
    with terminal.session(tmp_path, *_under_run("sh", "-c", "echo ready; sleep 999")) as process:
        terminal.wait_for("ready")
        terminal.type("\x03")
        assert process.wait() == 128 + signal.SIGINT
    assert terminal.shown.replace(b"^C", b"") == b"ready\r\n"


def test_a_signal_to_run_reaches_a_command_on_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal()
    with terminal.session(tmp_path, *_under_run(sys.executable, "-c", _COUNT)) as process:
        terminal.wait_for("ready")
        process.send_signal(signal.SIGTERM)
        terminal.wait_for("<SIGTERM>")
        terminal.type("end\n")
        assert process.wait() == 9


def test_the_command_has_the_terminal_and_its_size(tmp_path: Path) -> None:
    show = "import os, sys; print([one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr)],"
    show += "tuple(os.get_terminal_size()), os.getpgrp() == os.tcgetpgrp(0))"
    terminal = Terminal(rows=31, columns=117)
    with terminal.session(tmp_path, *_under_run(sys.executable, "-c", show)) as process:
        assert process.wait() == 0
    assert terminal.shown == b"[True, True, True] (117, 31) True\r\n"


def test_a_password_can_be_typed_and_is_not_shown(tmp_path: Path) -> None:
    ask = "import getpass; print(len(getpass.getpass('Password: ')))"
    terminal = Terminal()
    with terminal.session(tmp_path, *_under_run(sys.executable, "-c", ask)) as process:
        terminal.wait_for("Password: ")
        terminal.type("hunter2\n")
        assert process.wait() == 0
    assert terminal.shown == b"Password: \r\n7\r\n"


def test_run_asks_for_a_password_that_is_missing_before_the_command_starts(tmp_path: Path) -> None:
    command = run_command([*UNUSED, "--username", "alice"], "sh", "-c", "echo started; env")
    terminal = Terminal()
    with terminal.session(tmp_path, *command) as process:
        terminal.wait_for("Password for the registry: ")
        assert b"started" not in terminal.shown
        terminal.type("hunter2\n")
        assert process.wait() == 0
    assert b"started" in terminal.shown
    assert b"hunter2" not in terminal.shown


@pytest.mark.slow
def test_a_command_is_stopped_and_continued_by_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(columns=500)
    command = shlex.join(_under_run(sys.executable, "count.py"))
    (tmp_path / "count.py").write_text(_COUNT)
    environ = {"PS1": "$ ", "COMMAND": command}
    with terminal.session(tmp_path, *_SHELL, environ=environ):
        end = terminal.wait_for("$ ")
        terminal.type('eval "$COMMAND"\n')
        end = terminal.wait_for("ready", end)
        for _ in range(3):
            terminal.type("\x1a")
            end = terminal.wait_for("Stopped", end)
            terminal.type("fg\nmore\n")
            end = terminal.wait_for("read more", end)
        terminal.type("\x1a")
        end = terminal.wait_for("Stopped", end)
        # In the background, it stops when it wants to read from the terminal.
        terminal.type("bg\n")
        end = terminal.wait_for("Stopped", end)
        terminal.type("fg\nmore\n")
        end = terminal.wait_for("read more", end)
        terminal.type("\x03")
        end = terminal.wait_for("<SIGINT>", end)
        terminal.type("end\n")
        terminal.wait_for("$ ", end)
        terminal.type("echo status $?\n")
        terminal.wait_for("status 9", end)
    assert terminal.shown.count(b"<SIGINT>") == 1


@pytest.mark.slow
def test_a_command_that_stops_itself_can_be_continued_by_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(columns=500)
    stop = "import os, signal; print('ready', flush=True); os.kill(os.getpid(), signal.SIGTSTP);"
    stop += "print('continued', flush=True)"
    (tmp_path / "stop.py").write_text(stop)
    environ = {"PS1": "$ ", "COMMAND": shlex.join(_under_run(sys.executable, "stop.py"))}
    with terminal.session(tmp_path, *_SHELL, environ=environ):
        end = terminal.wait_for("$ ")
        terminal.type('eval "$COMMAND"\n')
        end = terminal.wait_for("ready", end)
        end = terminal.wait_for("Stopped", end)
        assert b"continued" not in terminal.shown
        terminal.type("fg\n")
        end = terminal.wait_for("continued", end)
        terminal.type("echo status $?\n")
        terminal.wait_for("status 0", end)
