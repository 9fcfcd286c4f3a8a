"""A user's machine, on whose terminal the commands of the web pages are pasted."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.client_tools import client_tool
from tests.clients import PATIENT
from tests.key_ring import key_ring
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.run_process import Terminal

_WATCHED = ("pip", "uv", "twine", "keyring", "python", "sed", "mktemp", "touch", "chmod", "rm")
_TOOLS = ("poetry", "pdm", "hatch")
_SHELL = ("bash", "--norc", "--noprofile", "--noediting", "-i")
"""Without line editing, there is no bracketed paste: lines are read while the commands run."""
_BACKEND = """\
import pathlib, shutil, sys

def _copy(pattern, folder):
    (found,) = pathlib.Path(__file__).parent.glob(f"prebuilt/{pattern}")
    shutil.copy(found, folder)
    return found.name

def build_wheel(folder, config_settings=None, metadata_directory=None):
    return _copy("*.whl", folder)

def build_editable(folder, config_settings=None, metadata_directory=None):
    return _copy("*.whl", folder)

def build_sdist(folder, config_settings=None):
    return _copy("*.tar.gz", folder)
"""
"""A build backend that needs no packages: it returns files that exist already."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A home with clients. Every program that is started is noted with its arguments."""

    home: Path
    user: str
    token: str
    public: str
    """The index that installers ask by default."""

    @classmethod
    def create(cls, home: Path, user: str, token: str, public: str) -> "Desk":
        """Set up a home: an environment to install into, and configured installers."""
        for folder in ("bin", "tmp", "dist", "ring", ".config/uv"):
            (home / folder).mkdir(parents=True)
        venv.create(home / "environment", with_pip=False)
        ours = next(iter(Path(sys.prefix).glob("lib/*/site-packages")))
        theirs = next(iter((home / "environment").glob("lib/*/site-packages")))
        # uv, twine and build count as installed, so that no test downloads them.
        (theirs / "ours.pth").write_text(f"{ours}\n")
        (home / ".config" / "uv" / "uv.toml").write_text(
            f'[[index]]\nurl = "{public}"\ndefault = true\n'
        )
        (home / "pip.conf").write_text(f"[global]\nindex-url = {public}\n")
        key_ring(home / "ring")
        desk = cls(home, user, token, public)
        for name in (*_WATCHED, *_TOOLS):
            desk.watch(name)
        return desk

    def watch(self, name: str) -> None:
        """Put a program in front of another one, which notes the arguments and starts that one."""
        ours = Path(sys.executable).with_name(name)
        real = (
            client_tool(name) if name in _TOOLS else ours if ours.exists() else shutil.which(name)
        )
        program = self.home / "bin" / name
        program.write_text(
            f'#!/bin/bash\nprintf "%s " "$0" "$@" >> {self.home}/started\nexec {real} "$@"\n'
        )
        program.chmod(0o755)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of this user, which contains no login."""
        return {
            **PATIENT,
            "PATH": os.pathsep.join(
                [str(self.home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.home / "tmp"),
            "HISTFILE": str(self.home / "history"),
            "PS1": "",
            "PS2": "",
            "PYTHONPATH": str(self.home / "ring"),
            "PYTHON_KEYRING_BACKEND": "file_key_ring.FileKeyring",
            "PYTHONWARNINGS": "ignore",
            "PIP_CONFIG_FILE": str(self.home / "pip.conf"),
            "PIP_PYTHON": str(self.home / "environment" / "bin" / "python"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "VIRTUAL_ENV": str(self.home / "environment"),
            "UV_NO_PROGRESS": "1",
            "PDM_CHECK_UPDATE": "false",
            "NO_COLOR": "1",
        }

    def paste(self, text: str, *, asked: str = "", environ: Mapping[str, str] | None = None) -> str:
        """Paste a text into a shell, answer its questions, and return what the terminal showed.

        `asked` is another question, which the token answers. The text must succeed.
        """
        questions = [("\nUser: ", self.user)] if "'User: '" in text else []
        questions += [("\nToken: ", self.token)] if "'Token: '" in text else []
        questions += [(asked, self.token)] if asked else []
        return self.answer(text, questions, environ)

    def answer(
        self,
        text: str,
        questions: Sequence[tuple[str, str]],
        environ: Mapping[str, str] | None = None,
    ) -> str:
        """Paste a text into a shell, and type each answer after its question is shown."""
        terminal = Terminal(columns=500)
        with terminal.session(self.home, *_SHELL, environ=self.environ | (environ or {})) as shell:
            terminal.type(f"{text}\n")
            end = 0
            for question, answer in questions:
                end = terminal.wait_for(question, end)
                terminal.wait_until_hidden(answer is self.token)
                terminal.type(f"{answer}\n")
            terminal.wait_for("\n", end)
            terminal.type('echo "<""status $?>"\n')
            end = terminal.wait_for("<status ", end)
            terminal.wait_for(">", end)
            shown = terminal.shown.decode()
            terminal.type("exit\n")
            shell.wait(PATIENCE)
        assert "<status 0>" in shown, shown
        self.assert_untold(shown)
        return shown

    def run_job(self, lines: str, environ: Mapping[str, str]) -> str:
        """Run lines as a CI service does. Its log must not contain the token."""
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", lines],
            env=self.environ | dict(environ),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        self.assert_untold(done.stdout)
        return done.stdout

    def assert_untold(self, shown: str) -> None:
        """The token is neither in a text, nor in arguments of a program, nor in a file."""
        secrets = (self.token, quote(self.token, safe=""), quote(self.token), _escaped(self.token))
        started = self.home / "started"
        arguments = started.read_text() if started.exists() else ""
        for secret in secrets:
            assert secret not in shown
            assert secret not in arguments
        kept = {self.home / ".netrc", self.home / "key-ring.json"}
        for file in self.home.rglob("*"):
            if file.is_file() and not file.is_symlink() and file not in kept:
                content = file.read_bytes()
                assert not any(secret.encode() in content for secret in secrets), file
        assert not list((self.home / "tmp").glob("tmp.*"))

    def project(self, *parts: str, name: str = "my-app", requires: str = "[]") -> None:
        """Write a project into the home, whose pyproject.toml ends with these parts."""
        prebuilt = self.home / "prebuilt"
        prebuilt.mkdir(exist_ok=True)
        make_wheel(prebuilt, name, "1.0")
        (self.home / "backend.py").write_text(_BACKEND)
        head = (
            f'[build-system]\nrequires = {requires}\nbuild-backend = "backend"\n'
            f'backend-path = ["."]\n\n[project]\nname = "{name}"\nversion = "1.0"\n'
            'requires-python = ">=3.11"\ndependencies = []\n'
        )
        (self.home / "pyproject.toml").write_text("\n".join([head, *parts, ""]))

    @property
    def installed(self) -> dict[str, str]:
        """The packages in the environment, with their versions."""
        found = (self.home / "environment").glob("lib/*/site-packages/*.dist-info")
        pairs = (re.fullmatch(r"(.+)-([^-]+)\.dist-info", one.name) for one in found)
        return {one[1]: one[2] for one in pairs if one is not None}


def _escaped(token: str) -> str:
    return re.sub(r'([\\" ])', r"\\\1", token)
