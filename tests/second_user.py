"""A second user of the machine, whom tests that run as root can make."""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.run_lab import RunLab, lab_environment, run_command
from tests.servers import ROOT


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine, with a home, and a Python that all users can start."""

    home: Path
    python: str
    uid: int

    def options(self) -> dict[str, object]:
        """Return the options of Popen for a program of this user."""
        path = os.pathsep.join(sys.path)
        environ = {**lab_environment(self.home), "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}
        return {"user": self.uid, "group": self.uid, "extra_groups": [], "env": environ}

    def command(self, lab: RunLab, code: str) -> list[str]:
        """Return the command line of a Python program under `run`."""
        command = run_command(["--index", lab.index], self.python, "-c", code)
        return [self.python, *command[1:]]


@contextlib.contextmanager
def second_user(lab: RunLab) -> Iterator[User]:
    """Make a user, and remove the user and the home afterwards."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a second user")
    if shutil.which("useradd") is None:
        pytest.skip("useradd is not installed")
    name = f"pyoci-{uuid.uuid4().hex[:8]}"
    home = Path(tempfile.mkdtemp(prefix=name, dir="/tmp"))
    subprocess.run(["useradd", "--no-create-home", "--home-dir", home, name], check=True)
    try:
        account = pwd.getpwnam(name)
        shutil.copytree(lab.home() / ".docker", home / ".docker")
        for path in (home, *home.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        for python in (sys.executable, f"/usr/bin/python{version}"):
            candidate = User(home, python, account.pw_uid)
            command = [python, "-m", "pyoci_flask", "--version"]
            with contextlib.suppress(OSError):
                tried = subprocess.run(
                    command, **candidate.options(), cwd=home, capture_output=True, check=False
                )
                if tried.returncode == 0:
                    yield candidate
                    return
        pytest.skip(f"other users cannot start this Python, and there is no python{version}")
    finally:
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(home)
