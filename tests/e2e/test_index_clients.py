"""Each client that publishes, and each client that installs, with the credentials of a registry."""

import functools
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.access_log import answers
from tests.client_tools import client_tool, run_tool
from tests.clients import pip_install, run, twine_upload, uv_install, uv_publish, with_credentials
from tests.packages import make_sdist, make_wheel
from tests.servers import RunningServer

_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
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

_USER = '[project]\nname = "user"\nversion = "1"\nrequires-python = ">=3.11"\n'

Auth = tuple[str, str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a module, and with a wheel and an sdist in `dist`."""
    folder = tmp_path / "project"
    dist = folder / "dist"
    dist.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(_PYPROJECT)
    (folder / "some_pkg.py").write_text('"""A module."""\n__version__ = "1.0"\n')
    make_wheel(dist, "some-pkg", "1.0", requires_python=">=3.8", summary="A package")
    make_sdist(dist, "some-pkg", "1.0", requires_python=">=3.8", summary="A package")
    return folder


def _twine(project: Path, index: str, auth: Auth) -> None:
    twine_upload(project, index, *_dist(project), auth=auth)


def _uv(project: Path, index: str, auth: Auth) -> None:
    uv_publish(project, index, "--username", auth[0], "--password", auth[1], *_dist(project))


def _poetry(project: Path, index: str, auth: Auth) -> None:
    login = ["--username", auth[0], "--password", auth[1]]
    run_tool(
        client_tool("poetry"),
        project,
        *["publish", "--no-interaction", "--repository", "private", *login],
        environ={"POETRY_REPOSITORIES_PRIVATE_URL": index},
    )


def _pdm(project: Path, index: str, auth: Auth) -> None:
    login = ["--username", auth[0], "--password", auth[1]]
    run_tool(client_tool("pdm"), project, "publish", "--no-build", "--repository", index, *login)


def _hatch(project: Path, index: str, auth: Auth) -> None:
    login = ["--user", auth[0], "--auth", auth[1]]
    run_tool(client_tool("hatch"), project, "publish", "--no-prompt", "--repo", index, *login)


def _flit(project: Path, index: str, auth: Auth) -> None:
    """Flit builds what it publishes, with its own flit_core."""
    for path in _dist(project):
        path.unlink()
    environ = {"FLIT_INDEX_URL": index, "FLIT_USERNAME": auth[0], "FLIT_PASSWORD": auth[1]}
    run_tool(client_tool("flit"), project, "publish", environ=environ)


def _dist(project: Path) -> list[Path]:
    return sorted((project / "dist").iterdir())


@pytest.mark.acceptance
@pytest.mark.parametrize("publish", [_twine, _uv, _poetry, _pdm, _hatch, _flit])
def test_what_a_client_publishes_is_listed_whole_and_installs(
    closed_index: str,
    auth: Auth,
    project: Path,
    http: requests.Session,
    publish: Callable[[Path, str, Auth], None],
) -> None:
    publish(project, closed_index, auth)

    page = http.get(f"{closed_index}some-pkg/", headers=_JSON, auth=auth).json()
    listed = {file["filename"]: file["hashes"]["sha256"] for file in page["files"]}
    assert listed == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in _dist(project)
    }
    assert len(listed) == 2
    assert {file["requires-python"] for file in page["files"]} == {">=3.8"}
    signed = with_credentials(closed_index, *auth)
    target = project / "installed"
    assert pip_install(project, signed, target, "some-pkg") == {"some-pkg": "1.0"}


def test_uv_publish_with_check_url_uploads_nothing_the_second_time(
    app: RunningServer, closed_index: str, auth: Auth, project: Path
) -> None:
    # uv takes the credentials for the check from its URL.
    check = ["--check-url", with_credentials(closed_index, *auth)]
    login = ["--username", auth[0], "--password", auth[1]]

    uv_publish(project, closed_index, *login, *check, *_dist(project))
    assert [each["status"] for each in answers(app, "POST", closed_index, 2)] == ["200", "200"]

    checks = len(answers(app, "GET", f"{closed_index}some-pkg/"))
    said = uv_publish(project, closed_index, *login, *check, *_dist(project))
    assert "already exists" in said
    # Its check is in the log by now, so a later upload would be, too.
    assert len(answers(app, "GET", f"{closed_index}some-pkg/", checks + 1)) > checks
    assert len(answers(app, "POST", closed_index)) == 2


def test_hatch_skips_existing_files_and_uploads_nothing(
    app: RunningServer, closed_index: str, auth: Auth, project: Path
) -> None:
    twine_upload(project, closed_index, *_dist(project), auth=auth)
    assert len(answers(app, "POST", closed_index, 2)) == 2

    _hatch(project, closed_index, auth)

    checks = answers(app, "GET", f"{closed_index}+simple/some-pkg/", 1)
    assert {each["status"] for each in checks} == {"200"}
    assert len(answers(app, "POST", closed_index)) == 2


def _poetry_user(project: Path, index: str, auth: Auth) -> Callable[..., str]:
    (project / "pyproject.toml").write_text(
        f"{_USER}[tool.poetry]\npackage-mode = false\n"
        f'[[tool.poetry.source]]\nname = "private"\nurl = "{index}"\n'
    )
    environ = {
        "POETRY_HTTP_BASIC_PRIVATE_USERNAME": auth[0],
        "POETRY_HTTP_BASIC_PRIVATE_PASSWORD": auth[1],
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "POETRY_VIRTUALENVS_OPTIONS_NO_PIP": "true",
    }
    return functools.partial(run_tool, client_tool("poetry"), project, environ=environ)


def _pdm_user(project: Path, index: str, auth: Auth) -> Callable[..., str]:
    (project / "pyproject.toml").write_text(
        # This name replaces the public index.
        f'{_USER}[[tool.pdm.source]]\nname = "pypi"\nurl = "{index}"\n'
        f'username = "{auth[0]}"\npassword = "{auth[1]}"\n'
    )
    return functools.partial(run_tool, client_tool("pdm"), project)


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("user", "add", "install", "lock_file"),
    [
        (_poetry_user, ["add"], ["install"], "poetry.lock"),
        (_pdm_user, ["add", "--no-self"], ["sync", "--no-self"], "pdm.lock"),
    ],
)
def test_a_project_manager_locks_and_installs(
    closed_index: str,
    auth: Auth,
    tmp_path: Path,
    user: Callable[[Path, str, Auth], Callable[..., str]],
    add: list[str],
    install: list[str],
    lock_file: str,
) -> None:
    files = [
        make_wheel(tmp_path, "lower-part", "1.5", requires_python=">=3.8"),
        make_wheel(tmp_path, "upper-part", "2.0", requires=["lower-part>=1.2"]),
    ]
    twine_upload(tmp_path, closed_index, *files, auth=auth)
    project = tmp_path / "user"
    project.mkdir()
    manage = user(project, closed_index, auth)

    manage(*add, "upper-part")

    lock = (project / lock_file).read_text()
    for file in files:
        assert f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" in lock
    assert _versions(project / ".venv") == ["1.5", "2.0"]
    shutil.rmtree(project / ".venv")
    manage(*install)
    assert _versions(project / ".venv") == ["1.5", "2.0"]


def _versions(venv: Path) -> list[str]:
    """Return what the environment's own interpreter finds of the two packages."""
    code = "import lower_part, upper_part; print(lower_part.__version__, upper_part.__version__)"
    command = [str(venv / "bin" / "python"), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("install", [pip_install, uv_install])
def test_hashes_that_are_required_are_those_of_the_files(
    open_index: str,
    tmp_path: Path,
    install: Callable[..., dict[str, str]],
) -> None:
    wheel = make_wheel(tmp_path, "some-pkg", "1.0")
    twine_upload(tmp_path, open_index, wheel)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pinned, wrong = tmp_path / "pinned.txt", tmp_path / "wrong.txt"
    pinned.write_text(f"some-pkg==1.0 --hash=sha256:{digest}\n")
    wrong.write_text(f"some-pkg==1.0 --hash=sha256:{digest[::-1]}\n")
    options = ["--require-hashes", "--requirement"]

    assert install(tmp_path, open_index, tmp_path / "it", *options, pinned) == {"some-pkg": "1.0"}
    with pytest.raises(AssertionError, match=r"(?i)hash"):
        install(tmp_path, open_index, tmp_path / "other", *options, wrong)


def test_without_credentials_no_client_learns_which_packages_exist(
    closed_index: str, auth: Auth, tmp_path: Path
) -> None:
    twine_upload(tmp_path, closed_index, make_wheel(tmp_path, "some-pkg", "1.0"), auth=auth)
    to = ["--target", str(tmp_path / "it"), "--index-url", closed_index]
    said = [
        run(tmp_path, *client, "install", *to, name, succeeds=False).replace(name, "NAME")
        for client in [["pip"], ["uv", "pip"]]
        for name in ["some-pkg", "none-such"]
    ]
    assert said[0] == said[1]
    assert said[2] == said[3]
