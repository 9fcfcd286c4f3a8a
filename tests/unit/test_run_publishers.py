"""Which commands may publish under `run` without `--publish`."""

import pytest

from pyoci_flask.cli.run.publishers import is_publish_command
from pyoci_flask.errors import ConfigurationError


@pytest.mark.parametrize(
    "command",
    [
        "uv publish",
        "uv publish --dry-run dist/*",
        "twine upload dist/*",
        "/usr/local/bin/twine upload x.whl",
        "hatch publish",
        "flit publish",
        "pdm publish --no-build",
        "poetry publish -r run",
        "poetry publish --build --repository=run",
        "poetry publish --help",
        "python -m twine upload x.whl",
        "python3.12 -m flit publish",
        ".venv/bin/python -m twine upload x.whl",
        "uvx twine upload x.whl",
        "uvx twine@6.2 upload x.whl",
        "uv tool run hatch publish",
        "uv run twine upload x.whl",
        "uv run python -m twine upload x.whl",
        "pipx run twine upload x.whl",
        "poetry run twine upload x.whl",
    ],
)
def test_a_publish_command_is_recognised(command: str) -> None:
    assert is_publish_command(command.split())


@pytest.mark.parametrize(
    "command",
    [
        "uv",
        "uv sync",
        "uv pip install publish",
        "uv run publish",
        "uvx",
        "twine check upload",
        "hatch build",
        "python -m",
        "python upload.py",
        "python twine upload",
        "pip install twine upload",
        "sh -c true",
        "publish",
        "twine-upload upload",
        "",
    ],
)
def test_other_commands_may_only_read(command: str) -> None:
    assert not is_publish_command(command.split(" "))


@pytest.mark.parametrize(
    "command", ["poetry publish", "poetry publish --build", "uvx poetry publish"]
)
def test_poetry_must_name_the_repository_or_it_would_publish_elsewhere(command: str) -> None:
    with pytest.raises(ConfigurationError, match="poetry publish -r run"):
        is_publish_command(command.split())
