"""A release that failed half-way is run again, as docs/ci.md shows, with real clients."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.client_tools import client_tool
from tests.clients import twine_upload, uv_publish, with_credentials
from tests.documents import Block, blocks
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE
from tests.run_lab import RunLab, run_under
from tests.servers import ROOT, environment

pytestmark = pytest.mark.slow

_SECTION = [
    one for one in blocks(ROOT / "docs" / "ci.md") if one.section == "Run a failed release again"
]
_SHELL = [one for one in _SECTION if one.language == "shell"]
_ADDRESS = "https://packages.example.com/ghcr.io/acme/"
_EXISTS = "already exists"


@pytest.fixture
def files(tmp_path: Path) -> Sequence[Path]:
    """A wheel and an sdist in `dist`, in the order in which clients publish them."""
    (tmp_path / "dist").mkdir()
    wheel = make_wheel(tmp_path / "dist", "some-pkg", "1.0")
    return wheel, make_sdist(tmp_path / "dist", "some-pkg", "1.0")


def _types(
    home: Path, block: Block, index: str, auth: tuple[str, str], **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the commands of a block of the document in the folder with `dist`."""
    user, password = auth
    login = {"REGISTRY_USER": user, "REGISTRY_TOKEN": password, **more}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text.replace(_ADDRESS, index)],
        cwd=home,
        env=environment(home, login),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_section_has_three_ways() -> None:
    assert len(_SHELL) == 3


@pytest.mark.acceptance
@pytest.mark.parametrize("block", _SHELL, ids=["twine", "uv", "uv with a check"])
def test_the_commands_publish_what_is_missing_and_can_be_repeated(
    tmp_path: Path,
    files: Sequence[Path],
    closed_index: str,
    auth: tuple[str, str],
    block: Block,
) -> None:
    (project,) = [one.text for one in _SECTION if one.language == "toml"]
    (tmp_path / "pyproject.toml").write_text(project.replace(_ADDRESS, closed_index))
    twine_upload(tmp_path, closed_index, files[0], auth=auth)

    for _ in range(2):
        done = _types(tmp_path, block, closed_index, auth)
        assert done.returncode == 0, done.stderr

    assert _EXISTS in twine_upload(tmp_path, closed_index, files[1], auth=auth, succeeds=False)


@pytest.mark.parametrize("block", _SHELL, ids=["twine", "uv", "uv with a check"])
def test_a_file_with_other_bytes_stops_them(
    tmp_path: Path,
    files: Sequence[Path],
    closed_index: str,
    auth: tuple[str, str],
    block: Block,
) -> None:
    (project,) = [one.text for one in _SECTION if one.language == "toml"]
    (tmp_path / "pyproject.toml").write_text(project.replace(_ADDRESS, closed_index))
    twine_upload(tmp_path, closed_index, *files, auth=auth)
    make_wheel(tmp_path / "dist", "some-pkg", "1.0", summary="other")

    assert _types(tmp_path, block, closed_index, auth).returncode != 0


def test_what_the_document_says_of_the_options_of_clients(
    tmp_path: Path, files: Sequence[Path], closed_index: str, auth: tuple[str, str]
) -> None:
    user, password = auth
    twine_upload(tmp_path, closed_index, *files, auth=auth)
    refused = twine_upload(
        tmp_path, closed_index, "--skip-existing", *files, auth=auth, succeeds=False
    )
    assert "does not have support for" in " ".join(refused.split())
    login = ["--username", user, "--password", password]
    check = ["--check-url", closed_index]
    unchecked = uv_publish(tmp_path, closed_index, *login, *check, *files, succeeds=False)
    assert _EXISTS in unchecked
    assert "409" in unchecked
    check = ["--check-url", with_credentials(closed_index, user, password)]
    assert "skipping" in uv_publish(tmp_path, closed_index, *login, *check, *files)


@pytest.mark.acceptance
@pytest.mark.parametrize("client", ["hatch", "poetry", "pdm"])
def test_other_clients_keep_the_query_of_the_address(
    tmp_path: Path, files: Sequence[Path], closed_index: str, auth: tuple[str, str], client: str
) -> None:
    user, password = auth
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "some-pkg"\nversion = "1.0"\nrequires-python = ">=3.8"\n'
    )
    prefix = {"hatch": "HATCH_INDEX", "pdm": "PDM_PUBLISH", "poetry": "POETRY"}[client]
    names = {
        "hatch": ("REPO", "USER", "AUTH"),
        "pdm": ("REPO", "USERNAME", "PASSWORD"),
        "poetry": (
            "REPOSITORIES_RUN_URL",
            "HTTP_BASIC_RUN_USERNAME",
            "HTTP_BASIC_RUN_PASSWORD",
        ),
    }[client]
    values = (f"{closed_index}?existing=skip", user, password)
    settings = {f"{prefix}_{name}": value for name, value in zip(names, values, strict=True)}
    command = {
        "hatch": ["publish", "-n"],
        "pdm": ["publish", "--no-build"],
        "poetry": ["publish", "-r", "run"],
    }[client]
    for _ in range(2):
        done = subprocess.run(
            [str(client_tool(client)), *command],
            cwd=tmp_path,
            env=environment(
                tmp_path,
                {
                    "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
                    "PDM_CHECK_UPDATE": "false",
                    "PYTHONWARNINGS": "ignore",
                    **settings,
                },
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert _EXISTS in twine_upload(tmp_path, closed_index, files[0], auth=auth, succeeds=False)


@pytest.mark.acceptance
@pytest.mark.usefixtures("files")
def test_a_run_passes_the_query_on(lab: RunLab, tmp_path: Path) -> None:
    upload = 'twine upload --disable-progress-bar --repository-url "$TWINE_REPOSITORY_URL{}" dist/*'
    options = ["--index", lab.index, "--publish"]
    project = lab.project("again", "")
    (tmp_path / "dist").rename(project / "dist")
    for _ in range(2):
        run_under(
            lab, "sh", "-c", upload.format("?existing=skip"), options=options, project=project
        )
    said = run_under(
        lab, "sh", "-c", upload.format(""), options=options, project=project, succeeds=False
    )
    assert _EXISTS in said.stdout + said.stderr
