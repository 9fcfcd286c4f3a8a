"""The commands that README, docs/run.md and docs/ci.md tell people to type with `run` are run.

The registry is docker-registry, which wants a password. Only addresses are replaced, and what a CI
service does itself. A block after `<!-- not run: why -->` is left out.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import uuid
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.client_tools import client_tool
from tests.documents import Block, blocks
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.public_index import public_index, reaching_it
from tests.run_lab import PASSWORD, USER, RunLab, auth, lab_environment, run_lab, run_under
from tests.servers import ROOT

pytestmark = pytest.mark.acceptance

_PYPROJECT = """\
[build-system]
requires = ["flit_core>=3.11"]
build-backend = "flit_core.buildapi"

[project]
name = "hello-world"
version = "1.0"
description = "Says hello"
requires-python = ">=3.9"
"""
_DOCKER = f"""\
#!{sys.executable}
\"\"\"`docker login HOST`, for a person who types the lab's login if they are asked for one.\"\"\"
import base64, json, pathlib, sys
command, host, *options = sys.argv[1:]
assert command == "login", command
user, password = {USER!r}, {PASSWORD!r}
if options:
    name, user, stdin = options
    assert (name, stdin) == ("--username", "--password-stdin"), options
    password = sys.stdin.read()
auth = base64.b64encode(f"{{user}}:{{password}}".encode()).decode()
file = pathlib.Path.home() / ".docker" / "config.json"
file.parent.mkdir(exist_ok=True)
file.write_text(json.dumps({{"auths": {{host: {{"auth": auth}}}}}}))
"""
_TOOL = "uv tool install git+https://git.example.com/acme/pyoci-flask"


def _shell(document: str, *sections: str) -> list[Block]:
    """Return the blocks of some sections that are run."""
    found = blocks(ROOT / document)
    shell = (one for one in found if one.language == "shell" and not one.not_run)
    return [one for one in shell if one.section in sections]


def _name(block: Block) -> str:
    lines = block.text.strip().splitlines()
    return f"{block.section}: {lines[-1][:60]}"


HOST = _shell("README.md", "Nothing to host")
CLIENTS = _shell("docs/run.md", "uv", "pip, pipx and Pipenv", "Poetry", "PDM")
PUBLISH = _shell("docs/run.md", "Publish")
PLAIN = _shell("docs/ci.md", "Without a server")
WORKFLOWS = [
    one
    for one in blocks(ROOT / "docs" / "ci.md")
    if one.section == "Without a server" and one.language == "yaml"
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLab]:
    """A registry that wants a password."""
    with run_lab(tmp_path_factory.mktemp("registry")) as lab:
        yield lab


@pytest.fixture
def lab(registry: RunLab, tmp_path: Path) -> RunLab:
    """The registry with an empty namespace, and a folder for the homes of this test."""
    return dataclasses.replace(registry, folder=tmp_path, namespace=f"ns-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of uv, so that public packages are fetched once."""
    return tmp_path_factory.mktemp("cache")


def _publish(lab: RunLab) -> None:
    """Publish a package, and one that needs a private and a public one."""
    folder = lab.folder / "files"
    folder.mkdir()
    lab.publish(
        make_wheel(folder, "hello-world", "1.0"),
        make_wheel(folder, "acme-lib", "1.0"),
        make_wheel(folder, "acme-app", "1.0", requires=["acme-lib", "six"]),
    )


def _package(lab: RunLab) -> Path:
    """A project with a file in `dist`."""
    folder = lab.project("hello-world", _PYPROJECT)
    (folder / "hello_world.py").write_text('"""Says hello."""\n')
    (folder / "dist").mkdir()
    make_wheel(folder / "dist", "hello-world", "1.0")
    return folder


def _home(lab: RunLab, *, login: bool) -> Path:
    """A home with the programs of the documents, pip's configuration and an environment."""
    home = lab.home("home", (USER, PASSWORD) if login else None)
    programs = home / "bin"
    programs.mkdir()
    for name, text in (
        ("docker", _DOCKER),
        ("pyoci-flask", f'#!/bin/sh\nexec "{sys.executable}" -m pyoci_flask "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    config = home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(f"[global]\nindex-url = {public_index()}\n")
    (home / "runtime").mkdir(mode=0o700)
    venv.create(home / "environment", with_pip=False)
    return home


def _type(
    lab: RunLab,
    home: Path,
    folder: Path,
    cache: Path,
    script: str,
    environ: dict[str, str] | None = None,
) -> str:
    """Type a text into a shell, with the lab's registry in place of ghcr.io; return the output."""
    for old, new in (
        ("http://run.pyoci.invalid/ghcr.io/acme/", lab.address),
        ("ghcr.io/acme", lab.index),
        ("skopeo login ghcr.io", f"skopeo login --tls-verify=false {lab.registry.netloc}"),
        ("login ghcr.io", f"login {lab.registry.netloc}"),
        # Poetry reads PyPI by an API that mirrors do not have.
        ('name = "PyPI"', f'name = "public"\nurl = "{public_index()}/"'),
        ("uv tool install .", f"uv tool install {ROOT}"),
        (_TOOL, ": installed"),
    ):
        script = script.replace(old, new)
    assert "ghcr.io" not in script
    assert "example.com" not in script
    tools = [str(client_tool(name).parent) for name in ("poetry", "pdm")]
    python = home / "environment"
    user = lab_environment(
        home,
        {
            **reaching_it(),
            "UV_DEFAULT_INDEX": public_index(),
            "UV_CACHE_DIR": str(cache),
            "PDM_PYPI_URL": public_index(),
            "VIRTUAL_ENV": str(python),
            "PIP_PYTHON": str(python / "bin" / "python"),
            "XDG_RUNTIME_DIR": str(home / "runtime"),
            "REGISTRY_USER": USER,
            "REGISTRY_TOKEN": PASSWORD,
            **(environ or {}),
        },
    )
    del user["PIP_CONFIG_FILE"]
    local = str(home / ".local" / "bin")
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        env={**user, "PATH": os.pathsep.join([local, user["PATH"], *tools])},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    traced = "+ "  # what bash itself writes
    shown = [line for line in done.stdout.splitlines() if not line.startswith(traced)]
    assert PASSWORD not in "".join(shown)
    return done.stdout


def _installed(*environments: Path) -> set[str]:
    return {
        path.name.removesuffix(".dist-info")
        for folder in environments
        for path in folder.glob("lib/*/site-packages/*.dist-info")
    }


def _published(lab: RunLab) -> list[str]:
    answer = requests.get(
        f"{lab.registry.url}/v2/{lab.namespace}/hello_world/tags/list",
        auth=lab.registry.auth,
        timeout=PATIENCE,
    )
    assert answer.ok, answer.text
    tags = answer.json()["tags"]
    assert isinstance(tags, list)
    return tags


def test_every_section_has_commands() -> None:
    assert len(HOST) == 3
    assert {one.section for one in CLIENTS} == {"uv", "pip, pipx and Pipenv", "Poetry", "PDM"}
    assert PUBLISH
    assert len(PLAIN) >= 3
    assert len(WORKFLOWS) >= 4


def test_readme_leads_from_nothing_to_an_installed_package(lab: RunLab, cache: Path) -> None:
    home, package = _home(lab, login=False), _package(lab)
    (home / "bin" / "pyoci-flask").unlink()  # README installs it
    project = lab.project("my-app")
    install, publish, use = (block.text for block in HOST)
    script = f"{install}\n{publish}\ncd '{project}'\nuv init --bare\n{use}"

    _type(lab, home, package, cache, script, {"PYTHONPATH": ""})

    assert _published(lab) == ["1.0"]
    assert "hello_world-1.0" in _installed(project / ".venv")
    assert "hello_world-1.0" in _installed(home / "environment")
    assert lab.address in (project / "uv.lock").read_text()


@pytest.mark.parametrize("block", CLIENTS, ids=_name)
def test_the_commands_of_a_client_install_private_and_public_packages(
    block: Block, lab: RunLab, cache: Path
) -> None:
    _publish(lab)
    home, folder = _home(lab, login=True), lab.project("work")

    _type(lab, home, folder, cache, block.text)

    found = _installed(home / "environment", folder / "my-app" / ".venv")
    if "acme-app" in block.text:
        assert {"acme_app-1.0", "acme_lib-1.0"} <= found
        assert any(one.startswith("six-") for one in found)
    else:
        assert "hello_world-1.0" in found


@pytest.mark.parametrize("block", PUBLISH, ids=_name)
def test_the_commands_that_publish_do(block: Block, lab: RunLab, cache: Path) -> None:
    _type(lab, _home(lab, login=True), _package(lab), cache, block.text)

    assert _published(lab) == ["1.0"]


@pytest.mark.parametrize("block", PLAIN, ids=_name)
def test_the_shell_commands_for_ci_work_without_a_login_beforehand(
    block: Block, lab: RunLab, cache: Path
) -> None:
    publishes = "publish" in block.text
    home, folder = _home(lab, login=False), _package(lab)
    if publishes:
        shutil.rmtree(folder / "dist")  # `uv build` makes it
    else:
        _publish(lab)

    _type(lab, home, folder, cache, block.text)

    if publishes:
        assert _published(lab) == ["1.0"]
    assert "hello_world-1.0" in _installed(home / "environment")


def _jobs(workflow: dict[str, Any]) -> Iterator[tuple[str, list[str], bool]]:
    """Yield the jobs of a workflow: name, commands, and whether the login action comes first."""
    if "jobs" in workflow:  # GitHub
        for name, job in workflow["jobs"].items():
            steps = job["steps"]
            logins = [one for one in steps if one.get("uses", "").startswith("docker/login")]
            assert [one["with"]["registry"] for one in logins] == ["ghcr.io"]
            yield name, [one["run"] for one in steps if "run" in one], True
        return
    before = workflow.get("default", {}).get("before_script", [])
    for name, job in workflow.items():
        if name != "default":
            commands = [*job.get("before_script", before), *job.get("script", [])]
            yield name, commands, False


JOBS = [job for block in WORKFLOWS for job in _jobs(yaml.safe_load(block.text))]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job[0]}: {job[1][0][:40]}")
def test_the_commands_of_a_workflow_work_after_what_the_service_does(
    job: tuple[str, list[str], bool], lab: RunLab, cache: Path
) -> None:
    name, commands, login = job
    home, folder = _home(lab, login=login), _package(lab)
    script = "\n".join(one for one in commands if one != "pip install uv")
    environ = {}
    if "DOCKER_AUTH_CONFIG" in script:
        auths = {lab.registry.netloc: auth(USER, PASSWORD)}
        environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": auths})
        script += "\npyoci-flask run -- uv sync --locked"
    elif not login:
        environ = {"PYOCI_USERNAME": USER, "PYOCI_PASSWORD": PASSWORD}
    if name == "publish":
        shutil.rmtree(folder / "dist")  # `uv build` makes it
    else:
        folder = _locked_project(lab, cache)

    _type(lab, home, folder, cache, script, environ)

    if name == "publish":
        assert _published(lab) == ["1.0"]
    else:
        assert "acme_app-1.0" in _installed(folder / ".venv")


def _locked_project(lab: RunLab, cache: Path) -> Path:
    """A project that was locked on another machine."""
    _publish(lab)
    named = next(one.text for one in CLIENTS if 'name = "private"' in one.text)
    pyproject = named.partition("<<'END'\n")[2].partition("END\n")[0]
    text = pyproject.replace("http://run.pyoci.invalid/ghcr.io/acme/", lab.address)
    folder = lab.project("locked", text)
    environ = {**reaching_it(), "UV_DEFAULT_INDEX": public_index(), "UV_CACHE_DIR": str(cache)}
    other = lab.home("other")
    run_under(lab, "uv", "lock", options=[], home=other, project=folder, environ=environ)
    return folder
