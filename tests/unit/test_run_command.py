"""How a command is started and waited for, where a whole run would leave it to chance."""

import os
import signal
import subprocess
import sys

import pytest

from pyoci_flask.cli.run.command import run_command
from tests.servers import ROOT


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process of its own, because it sends itself signals."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


def test_a_signal_while_the_command_is_started_reaches_it() -> None:
    code = """
import os, signal, subprocess, sys
from pyoci_flask.cli.run.command import run_command

class Late(subprocess.Popen):
    def __init__(self, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        super().__init__(*arguments, **options)

subprocess.Popen = Late
sys.exit(run_command(["sleep", "1000"], os.environ))
"""
    assert _python(code).returncode == 128 + signal.SIGTERM


def test_a_command_that_others_pause_does_not_stop_this_process() -> None:
    code = """
import os, sys
from pyoci_flask.cli.run.command import run_command

paused = "until grep -q State:.T /proc/$$/status; do :; done"
script = f"({paused}; kill -CONT $$) & kill -STOP $$; wait; exit 4"
sys.exit(run_command(["sh", "-c", script], os.environ))
"""
    assert _python(code).returncode == 4


def test_the_handlers_of_signals_are_restored() -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    assert run_command(["sh", "-c", "exit 3"], os.environ) == 3
    with pytest.raises(FileNotFoundError):
        run_command(["no-such-command"], os.environ)
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


def test_a_command_that_a_signal_ends_has_the_status_of_shells() -> None:
    assert run_command(["sh", "-c", "kill -KILL $$"], os.environ) == 128 + signal.SIGKILL


def test_what_runs_before_the_command_imports_no_server_and_no_client() -> None:
    code = """
import sys
import pyoci_flask.cli.main
import pyoci_flask.cli.run.run
print(sorted({"flask", "jinja2", "requests", "rich", "urllib3", "werkzeug"} & sys.modules.keys()))
"""
    ended = _python(code)
    assert ended.stdout == "[]\n", ended.stderr
