"""The commands of docs/key-ring.md are run, with keyring, twine and Poetry as tools of their own.

They are typed into one shell, one after the other. Only the addresses are replaced.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from tests.access_log import answers
from tests.documents import blocks
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.public_index import public_index, reaching_it
from tests.registries import RunningRegistry
from tests.servers import ROOT, RunningServer, environment, gunicorn

pytestmark = pytest.mark.acceptance

_SERVER = "https://packages.example.com"
_BLOCKS = list(blocks(ROOT / "docs" / "key-ring.md"))


def _user(home: Path) -> dict[str, str]:
    """The environment of a new user."""
    settings = {
        **reaching_it(),
        "UV_DEFAULT_INDEX": public_index(),
        "UV_PYTHON": sys.executable,
        "VIRTUAL_ENV": str(home / "environment"),
        "PIP_PYTHON": str(home / "environment" / "bin" / "python"),
        "POETRY_VIRTUALENVS_CREATE": "false",
        "TWINE_NON_INTERACTIVE": "1",
        "PYTHONWARNINGS": "ignore",
        "NO_COLOR": "1",
    }
    user = environment(home, settings)
    tools = home / ".local" / "bin"  # where uv puts its tools
    return {**user, "PATH": f"{tools}{os.pathsep}{user['PATH']}"}


def test_the_commands_do_what_the_document_says(
    docker_htpasswd: RunningRegistry, namespace: str, tmp_path: Path
) -> None:
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    assert username == "alice"
    wheels, project = tmp_path / "wheels", tmp_path / "project"
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", wheels, ROOT]
    subprocess.run(build, env=_user(tmp_path), check=True, stdout=subprocess.PIPE)
    venv.create(tmp_path / "environment", with_pip=False)
    (tmp_path / ".docker").mkdir()
    auth = {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
    config = json.dumps({"auths": {docker_htpasswd.netloc: auth}})
    (tmp_path / ".docker" / "config.json").write_text(config)
    (project / "dist").mkdir(parents=True)
    make_wheel(project / "dist", "hello-world", "1.0")
    (project / "pyproject.toml").write_text('[project]\nname = "hello-world"\nversion = "1.0"\n')
    shell = [each.text for each in _BLOCKS if each.language == "shell" and not each.not_run]
    # The blocks that install come last, so that the others have published something.
    shell.sort(key=lambda text: "install --keyring" in text)
    with gunicorn(tmp_path, {"PYOCI_SKIP_IDENTICAL": "true"}) as server:
        index = f"{server.url}/{docker_htpasswd.address}/{namespace}/"
        [wheel] = wheels.glob("*.whl")
        script = _script(shell, server, docker_htpasswd, index, wheel)
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            env=_user(tmp_path),
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        published = [each["status"] for each in answers(server, "POST", index, 3)]
    assert published.count("200") == 3, done.stdout
    assert password not in done.stdout
    assert "\nalice\n" in done.stdout
    assert f"\n{server.url} {docker_htpasswd.url}\n" in done.stdout


def _script(
    shell: list[str], server: RunningServer, registry: RunningRegistry, index: str, wheel: Path
) -> str:
    installed = 'compgen -G "$VIRTUAL_ENV/lib/*/site-packages/hello_world-1.0.dist-info"\n'
    script = "".join(
        f"{text}{installed}uv --quiet pip uninstall hello-world\n"
        if "install --keyring" in text
        else text
        for text in shell
    )
    user_and_index = index.replace("://", r"://\g<1>")
    script = re.sub(
        r"https://(alice@)?packages\.example\.com/ghcr\.io/acme/", user_and_index, script
    )
    script = script.replace(f"{_SERVER} ghcr.io", f"{server.url} {registry.url}")
    script = script.replace("./pyoci-flask", str(wheel))
    assert "example.com" not in script
    return script


def test_the_configuration_in_the_document_can_be_read() -> None:
    [text] = [each.text for each in _BLOCKS if each.language == "toml"]
    [index] = tomllib.loads(text)["tool"]["uv"]["index"]
    assert index["authenticate"] == "always"
