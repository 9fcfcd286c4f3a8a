"""The commands that README and docs/getting-started.md tell people to type are run.

Each section is one shell session with the real clients, with the embedded registry and a user; a
block after `<!-- not run: why -->` is left out. Only the addresses are replaced.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access_log import answers
from tests.client_tools import client_tool
from tests.clients import twine_upload
from tests.documents import Block, blocks
from tests.key_ring import key_ring
from tests.patience import PATIENCE
from tests.public_index import public_index, reaching_it
from tests.registries import write_htpasswd
from tests.servers import ROOT, RunningServer, environment, gunicorn

pytestmark = pytest.mark.acceptance

_AUTH = ("octocat", "plain-t0ken")  # uv sends this part of an address as it is written
_BUILDING = "A package to try"
_ONLY_INSTALLING = "pip-tools, pipx, Pipenv and conda"
_INSTALLING = re.compile(r"^(pip install|uv pip install|uv add|poetry add|pdm add)", re.MULTILINE)
_INSTALLED = """\
compgen -G "$VIRTUAL_ENV/lib/*/site-packages/hello_world-1.0.dist-info" ||
    compgen -G ".venv/lib/*/site-packages/hello_world-1.0.dist-info"
uv --quiet pip uninstall hello-world
"""
"""Runs after a block that installs, so that the next block has to install again."""


def _sections() -> dict[str, list[Block]]:
    """The blocks that are run, by the section that contains them."""
    readme = [each for each in blocks(ROOT / "README.md") if each.section == "Publish and install"]
    guide = blocks(ROOT / "docs" / "getting-started.md")
    shell = [each for each in [*readme, *guide] if each.language == "shell" and not each.not_run]
    return {
        section: list(found) for section, found in itertools.groupby(shell, lambda it: it.section)
    }


SECTIONS = _sections()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with users. Sections publish a file more than once: identical files are accepted."""
    tmp = tmp_path_factory.mktemp("closed")
    write_htpasswd(tmp / "users", [_AUTH])
    storage = {"PYOCI_STORAGE": str(tmp / "storage"), "PYOCI_STORAGE_USERS": str(tmp / "users")}
    with gunicorn(tmp, {**storage, "PYOCI_SKIP_IDENTICAL": "true"}) as running:
        yield running


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as `make run` starts it."""
    tmp = tmp_path_factory.mktemp("open")
    with gunicorn(tmp, {"PYOCI_STORAGE": str(tmp / "storage")}) as running:
        yield running


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the section about building a package creates."""
    home = tmp_path_factory.mktemp("build")
    _run(home, home, SECTIONS[_BUILDING])
    return home / "hello-world"


def _run(home: Path, folder: Path, session: list[Block], *addresses: tuple[str, str]) -> None:
    """Type the blocks into one shell, as a user with this home in that folder."""
    script = "".join(
        block.text + (_INSTALLED if _INSTALLING.search(block.text) else "") for block in session
    )
    for pattern, address in addresses:
        script = re.sub(pattern, address, script, flags=re.MULTILINE)
    assert "example.com" not in script
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        env=_user(home),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def _user(home: Path) -> dict[str, str]:
    """The environment of a user with all clients, a virtual environment and a key ring."""
    program = home / "bin" / "pyoci-flask"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec "{sys.executable}" -m pyoci_flask "$@"\n'
    )
    program.chmod(0o755)
    python = home / "environment"
    venv.create(python, with_pip=False)
    ring = home / "key_ring"
    ring.mkdir()
    config = home / ".config" / "pip" / "pip.conf"  # builds need their backends
    config.parent.mkdir(parents=True)
    config.write_text(f"[global]\nindex-url = {public_index()}\n")
    settings = {
        **reaching_it(),
        "REGISTRY_USER": _AUTH[0],
        "REGISTRY_TOKEN": _AUTH[1],
        "PYOCI_USERNAME": _AUTH[0],
        "PYOCI_PASSWORD": _AUTH[1],
        "VIRTUAL_ENV": str(python),
        "PIP_PYTHON": str(python / "bin" / "python"),
        **key_ring(ring),
        "PYTHONWARNINGS": "ignore",  # the variables of the clients
        "PDM_CHECK_UPDATE": "false",
        "NO_COLOR": "1",
    }
    user = environment(home, settings)
    names = ("poetry", "pdm", "hatch", "flit", "pipx", "pipenv")
    tools = [str(client_tool(name).parent) for name in names]
    tools.append(str(client_tool("pip-tools", "pip-compile").parent))
    return {**user, "PATH": os.pathsep.join([str(program.parent), user["PATH"], *tools])}


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != _BUILDING])
def test_the_commands_of_a_section_do_what_it_says(
    section: str, package: Path, closed: RunningServer, open_to_all: RunningServer, tmp_path: Path
) -> None:
    folder = tmp_path / "hello-world"
    shutil.copytree(package, folder)
    namespace = re.sub("[^a-z]+", "-", section.lower()).strip("-")
    index = f"{closed.url}/embedded/{namespace}/"
    if section == _ONLY_INSTALLING:
        twine_upload(folder, index, *(folder / "dist").iterdir(), auth=_AUTH)

    _run(
        tmp_path,
        folder,
        SECTIONS[section],
        (
            r"https://(\S+@)?packages\.example\.com/ghcr\.io/acme/",
            index.replace("//", r"//\g<1>", 1),
        ),
        (r"(?<=^pyoci-flask )(yank|delete) ghcr\.io/acme", rf"\1 {closed.url}/{namespace}"),
        (r"^machine packages\.example\.com$", "machine 127.0.0.1"),
        (r"http://localhost:8080", f"http://localhost:{open_to_all.port}"),
    )

    published = answers(closed, "POST", index, 2)
    assert len(published) >= 2
    assert {each["status"] for each in published} == {"200"}


def test_each_client_has_its_section() -> None:
    assert {"Publish and install", "pip and twine", "uv", "Poetry"} <= SECTIONS.keys()
    assert {"PDM", "Hatch", "Flit", "Credentials", _BUILDING} <= SECTIONS.keys()
