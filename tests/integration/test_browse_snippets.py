"""The configuration on the landing page works unchanged when pasted."""

import os
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from tests.clients import installed
from tests.key_ring import key_ring
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

    def shell(self, script: str, *, quoted: bool = False, **environ: str) -> str:
        """Run a pasted snippet; `quoted`: the variable contains the token percent-encoded."""
        token = quote(self.token, safe="") if quoted else self.token
        known = {"REGISTRY_USER": self.user, "REGISTRY_TOKEN": token, "UV_NO_CACHE": "1"}
        known |= {"PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        known |= {"PYTHONWARNINGS": "ignore", "VIRTUAL_ENV": sys.prefix}
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.home,
            env=environment(self.home, known | environ),
            stdin=subprocess.DEVNULL,
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
        *("REGISTRY_USER", "REGISTRY_TOKEN", "CI_COMMIT_TAG")
    }


def test_twine_publishes_and_pip_installs(desk: Desk) -> None:
    desk.shell(desk.snippet("twine-1"))
    desk.shell(f"{desk.snippet('pip-1')} --target here", quoted=True)

    assert installed(desk.home / "here") == {"hello": "1.0"}


def test_uv_publishes_and_installs(desk: Desk) -> None:
    desk.shell(desk.snippet("uv-4"))
    desk.shell(f"{desk.snippet('uv-1')} --target here", quoted=True)

    assert installed(desk.home / "here") == {"hello": "1.0"}


def test_files_of_pip_and_twine_are_read(desk: Desk) -> None:
    account = desk.snippet("twine-2").replace("YOUR_USER_NAME", desk.user)
    (desk.home / ".pypirc").write_text(account)
    (desk.home / "pip.conf").write_text(desk.snippet("pip-2"))
    (desk.home / "requirements.txt").write_text(desk.snippet("pip-3"))
    login = desk.snippet("keyring-1").replace("YOUR_USER_NAME", desk.user)
    (desk.home / ".netrc").write_text(login.replace("YOUR_TOKEN", desk.token))

    desk.shell(desk.snippet("twine-3"), TWINE_PASSWORD=desk.token)
    desk.shell("pip install --target by-netrc hello", PIP_CONFIG_FILE=f"{desk.home}/pip.conf")
    (desk.home / ".netrc").unlink()
    desk.shell(
        "pip install --target by-variables -r requirements.txt",
        quoted=True,
        PIP_CONFIG_FILE=os.devnull,
    )

    assert installed(desk.home / "by-netrc") == installed(desk.home / "by-variables")


def test_key_ring_serves_twine_pip_and_uv(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each asks for the password under a different name."""
    folder = tmp_path_factory.mktemp("ring")
    ring = key_ring(folder)
    # pip runs the program of any environment except its own.
    (folder / "keyring").symlink_to(Path(sys.executable).with_name("keyring"))
    ring["PATH"] = os.pathsep.join([environment(desk.home)["PATH"], str(folder)])
    keep, publish, pip, uv = desk.snippet("keyring-2").splitlines()

    desk.shell(f'printf %s "$REGISTRY_TOKEN" | {keep}', **ring)
    for command in (publish, f"{pip} --target by-pip", f"{uv} --target by-uv"):
        desk.shell(command, **ring, REGISTRY_TOKEN="", PIP_CONFIG_FILE=os.devnull)

    assert installed(desk.home / "by-pip") == installed(desk.home / "by-uv") == {"hello": "1.0"}


def test_project_of_uv_takes_the_package_from_its_explicit_index(desk: Desk) -> None:
    desk.shell(desk.snippet("uv-4"))
    head = '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.11"\n'
    project = f'{head}dependencies = ["hello"]\n\n{desk.snippet("uv-2")}\n'
    (desk.home / "pyproject.toml").write_text(project)

    desk.shell(f"{desk.snippet('uv-3')}\nuv lock --quiet", VIRTUAL_ENV="")

    assert 'name = "hello"\nversion = "1.0"' in (desk.home / "uv.lock").read_text()
