"""The commands and the layers under `web` can be imported without fcntl and gunicorn."""

import os
import subprocess
import sys

import pytest

from tests.servers import ROOT

_REFUSE = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fcntl", "gunicorn", "resource", "termios"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("fcntl", "resource", "termios"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Refusing())
"""
_IMPORT_ALL = """
import importlib
import pkgutil

layers = "index", "oci", "transport", "common", "settings"
for layer in (*layers, "cli.check", "cli.copy", "cli.login", "cli.run"):
    package = importlib.import_module(f"pyoci_flask.{layer}")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""
_RUN = """
from pyoci_flask.cli.main import main

main(sys.argv[1:], prog_name="pyoci-flask")
"""


def _run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", f"{_REFUSE}{code}", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_layers_under_web_and_the_commands_can_be_imported() -> None:
    done = _run(_IMPORT_ALL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [(), ("check",), ("copy",), ("run",), ("serve",), ("trust",)])
def test_the_commands_explain_themselves(command: tuple[str, ...]) -> None:
    done = _run(_RUN, *command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: pyoci-flask")


def test_serve_says_that_it_needs_gunicorn() -> None:
    done = _run(_RUN, "serve")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line == "Error: serve needs gunicorn, which is not installed or does not run here"


def test_run_says_that_it_needs_another_system() -> None:
    windows = "import types; from pyoci_flask.cli.run import run as module\n"
    windows += "module.os = types.SimpleNamespace(name='nt')"
    done = _run(f"{windows}{_RUN}", "run", "--index", "ghcr.io/acme", "--", "uv", "sync")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line == "Error: run works on Linux and macOS, but not on this system"
