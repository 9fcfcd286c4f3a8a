"""Where pip is sent for what the indexes of a run do not have."""

import logging
import os
import sys
from pathlib import Path

import pytest

from pyoci_flask.cli.run.fallback import _ask_pip, for_command, pip_index

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


def test_pip_says_which_index_it_is_configured_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://mirror.example/simple/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    _ask_pip.cache_clear()
    assert pip_index() == "https://mirror.example/simple"


def test_a_pip_that_does_not_answer_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    for program, text in (
        (silent, "use --fallback"),
        (tmp_path / "missing", "pip cannot be asked for its index (FileNotFoundError)"),
    ):
        caplog.clear()
        monkeypatch.setattr(sys, "executable", os.fspath(program))
        _ask_pip.cache_clear()
        with caplog.at_level(logging.ERROR):
            assert pip_index() is None
        assert text in caplog.text
    _ask_pip.cache_clear()


def test_modules_of_a_project_do_not_run_in_the_pip_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "optparse.py").write_text("raise SystemExit('a module of the project')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple/")
    _ask_pip.cache_clear()
    assert pip_index() == "https://mirror.example/simple"


def test_pip_is_asked_again_after_it_did_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple/")
    _ask_pip.cache_clear()
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", os.fspath(tmp_path / "missing"))
        assert pip_index() is None
    assert pip_index() == "https://mirror.example/simple"
