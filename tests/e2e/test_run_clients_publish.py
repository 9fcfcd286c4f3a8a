"""Clients that publish, under `run`."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client_tools import client_tool
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry
from tests.run_lab import PublicIndex, RunLab, run_under
from tests.run_projects import distributions

pytestmark = pytest.mark.slow
_ACCEPTANCE = pytest.mark.acceptance

_PYPROJECT = """\
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"

[project]
name = "some-pkg"
version = "1.0"
description = "A package"
requires-python = ">=3.8"
"""

_COMMANDS: dict[str, Callable[[], list[str | Path]]] = {
    "uv": lambda: ["uv", "publish"],
    "twine": lambda: ["twine", "upload", "--disable-progress-bar", *_FILES],
    "hatch": lambda: [client_tool("hatch"), "publish"],
    "poetry": lambda: [client_tool("poetry"), "publish", "-r", "run"],
    "pdm": lambda: [client_tool("pdm"), "publish", "--no-build"],
    "flit": lambda: [client_tool("flit"), "publish"],
}
_LONGER = ["twine", "hatch", "poetry", "pdm", "flit"]
_FILES = ["dist/some_pkg-1.0-py3-none-any.whl", "dist/some_pkg-1.0.tar.gz"]


@pytest.fixture
def project(lab: RunLab) -> Path:
    """A project with a wheel and an sdist in `dist`."""
    folder = lab.project("project", _PYPROJECT)
    (folder / "some_pkg.py").write_text('"""A module."""\n__version__ = "1.0"\n')
    (folder / "dist").mkdir()
    make_wheel(folder / "dist", "some-pkg", "1.0", requires_python=">=3.8")
    make_sdist(folder / "dist", "some-pkg", "1.0", requires_python=">=3.8")
    return folder


def _stored(registry: RunningRegistry) -> set[str]:
    """Return the digests of the blobs that the registry has."""
    assert registry.log is not None
    blobs = registry.log.parent.glob("storage/docker/registry/v2/blobs/sha256/*/*")
    return {path.name for path in blobs}


@pytest.mark.parametrize(
    "client",
    ["uv", *(pytest.param(one, marks=_ACCEPTANCE) for one in _LONGER)],
)
def test_a_publish_command_needs_no_option_and_no_configuration(
    lab: RunLab, project: Path, client: str
) -> None:
    words = _COMMANDS[client]()
    if client == "flit":  # it builds what it publishes
        for file in _FILES:
            (project / file).unlink()
    # What a user has configured for other uploads must not misdirect this one.
    theirs = {
        "TWINE_REPOSITORY": "elsewhere",
        "TWINE_PASSWORD": "theirs",
        "UV_PUBLISH_TOKEN": "theirs",
        "UV_PUBLISH_CHECK_URL": "http://127.0.0.1:1/",
        "UV_PUBLISH_INDEX": "elsewhere",
        "POETRY_PYPI_TOKEN_PYPI": "theirs",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "NO_PROXY": "127.0.0.1",
    }

    run_under(lab, *words, project=project, environ=theirs)

    published = {hashlib.sha256((project / file).read_bytes()).hexdigest() for file in _FILES}
    assert published <= _stored(lab.registry)
    install = ["pip", "install", "--target", project / "it", "some-pkg"]
    run_under(lab, *install, options=["--index", lab.index, "--fallback", "none"])
    assert distributions(project / "it") == ["some_pkg-1.0"]


@pytest.mark.acceptance
def test_the_first_of_several_indexes_is_published_to(lab: RunLab, project: Path) -> None:
    options = ["--index", lab.index, "--index", f"{lab.registry.url}/other"]
    run_under(lab, "uv", "publish", options=options, project=project)
    install = ["uv", "pip", "install", "--target", project / "it", "some-pkg"]
    run_under(lab, *install, options=[*options[:2], "--fallback", "none"])
    other = [*options[2:], "--fallback", "none"]
    run_under(lab, *install, "--reinstall", options=other, succeeds=False)


def test_another_command_publishes_only_with_the_option(lab: RunLab, project: Path) -> None:
    script = ["sh", "-c", f"twine upload --disable-progress-bar {_FILES[0]}"]
    before = _stored(lab.registry)
    refused = run_under(lab, *script, project=project, succeeds=False)
    assert "pyoci-flask run --publish" in " ".join(refused.stdout.split())
    assert _stored(lab.registry) == before
    run_under(lab, *script, options=["--index", lab.index, "--publish"], project=project)
    assert len(_stored(lab.registry)) > len(before)


def test_poetry_publishes_nowhere_if_it_would_publish_elsewhere(lab: RunLab, project: Path) -> None:
    said = run_under(lab, client_tool("poetry"), "publish", project=project, succeeds=False)
    assert "poetry publish -r run" in said.stderr
    assert said.stdout == ""
    assert _stored(lab.registry) == set()


@pytest.mark.acceptance
def test_an_address_in_the_project_names_the_index_to_publish_to(
    lab: RunLab, project: Path, public: PublicIndex
) -> None:
    index = f'[[tool.uv.index]]\nname = "acme"\nurl = "{lab.address}"\n'
    (project / "pyproject.toml").write_text(f"{_PYPROJECT}{index}")
    environ = {"UV_DEFAULT_INDEX": public.url}
    run_under(lab, "uv", "publish", options=[], project=project, environ=environ)
    install = ["uv", "pip", "install", "--target", project / "it", "some-pkg"]
    run_under(lab, *install, options=[], project=project, environ=environ)
    assert distributions(project / "it") == ["some_pkg-1.0"]
