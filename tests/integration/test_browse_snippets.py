"""The configuration on the landing page works unchanged when pasted."""

import os
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.clients import installed
from tests.packages import make_wheel
from tests.pages import snippets_of
from tests.patience import PATIENCE
from tests.registries import RunningRegistry
from tests.servers import environment


@dataclass(frozen=True, slots=True)
class Desk:
    """A user's machine: a folder with a wheel in `dist/`, and the snippets of the landing page."""

    home: Path
    snippets: dict[str, str]
    """By tool and number, such as `pip-1`."""
    user: str
    token: str

    def snippet(self, key: str, package: str = "hello") -> str:
        return self.snippets[key].replace("PACKAGE", package)

    def shell(self, script: str, **environ: str) -> str:
        """Run a pasted snippet, which asks for user and token."""
        known = {"UV_NO_CACHE": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
        known |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            ["bash", "-uc", script],
            cwd=self.home,
            env=environment(self.home, known | {"VIRTUAL_ENV": sys.prefix} | environ),
            input=f"{self.user}\n{self.token}\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def desk(
    shared_app: str, docker_htpasswd: RunningRegistry, http: requests.Session, tmp_path: Path
) -> Desk:
    assert docker_htpasswd.auth is not None
    namespace = f"ns-{uuid.uuid4().hex[:12]}"
    form = {"registry": docker_htpasswd.url, "namespace": namespace, "credentials": "1"}
    page = http.get(f"{shared_app}/", params=form).text
    (tmp_path / "dist").mkdir()
    make_wheel(tmp_path / "dist", "hello", "1.0")
    return Desk(tmp_path, snippets_of(page), *docker_htpasswd.auth)


def test_no_secret_of_anybody_stands_in_a_snippet(desk: Desk) -> None:
    text = "\n".join(desk.snippets.values())

    assert len(desk.snippets) > 15
    assert desk.token not in text
    assert set(re.findall(r"\$\{?([A-Z_]+)", text)) == {
        *("REGISTRY_USER", "REGISTRY_TOKEN", "NETRC", "CI_COMMIT_TAG")
    }


def test_twine_publishes_and_pip_installs(desk: Desk) -> None:
    desk.shell(desk.snippet("twine-1"))
    desk.shell(desk.snippet("pip-1"), PIP_TARGET="here")

    assert installed(desk.home / "here") == {"hello": "1.0"}


def test_uv_publishes_and_installs(desk: Desk) -> None:
    desk.shell(desk.snippet("uv-4"))
    desk.shell(f"{desk.snippet('uv-1')} --target here")

    assert installed(desk.home / "here") == {"hello": "1.0"}
