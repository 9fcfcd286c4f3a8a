"""Where pip is sent for what the indexes of a run do not have."""

import pytest

from pyoci_flask.cli.run.fallback import for_command

_WITH = "https://carol:s3cret@mirror.example:8443/simple"
_WITHOUT = "https://mirror.example:8443/simple"


@pytest.mark.parametrize(
    "command",
    [
        "pip lock acme-lib",
        "/usr/bin/pip3.12 lock -r requirements.txt",
        "python -m pip lock .",
        "pip install --report out.json acme-lib",
        "pip install --dry-run --report=out.json acme-lib",
    ],
)
def test_credentials_are_kept_from_a_pip_that_writes_addresses(command: str) -> None:
    assert for_command(_WITH, command.split()) == _WITHOUT
    assert for_command(_WITHOUT, command.split()) == _WITHOUT


@pytest.mark.parametrize(
    "command", ["pip install acme-lib", "pipenv lock", "uv lock", "pipx install lock", "make lock"]
)
def test_other_commands_receive_them_because_they_need_them(command: str) -> None:
    assert for_command(_WITH, command.split()) == _WITH
