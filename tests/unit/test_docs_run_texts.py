"""docs/run.md says of `run` what its code says."""

import re

import click
import pytest

from pyoci_flask.cli.main import main
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.logins import UsedLogin
from pyoci_flask.cli.run.project_files import _DOCUMENTS, _REQUIREMENTS
from pyoci_flask.cli.run.publishers import _ACTIONS
from pyoci_flask.cli.run.run import _SETTINGS
from pyoci_flask.transport.request import BasicCredentials
from tests.servers import ROOT

_TEXT = (ROOT / "docs" / "run.md").read_text()


def _section(heading: str) -> str:
    return _TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("document", ["run.md", "command-line.md"])
def test_every_option_of_run_is_documented_and_no_other(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    start = {"run.md": "## How it works", "command-line.md": "## run"}[document]
    section = text.partition(f"\n{start}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`-.*?) \| ", section, re.MULTILINE)
    named = {one for row in rows for one in re.findall(r"(--?[a-z]+)", row)}
    options = (one for one in main.commands["run"].params if isinstance(one, click.Option))
    assert named == {name for one in options for name in one.opts}


def test_the_settings_that_apply_to_run_are_listed_and_no_other() -> None:
    listed = _section("Settings").partition("apply to `run`:")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`([A-Z_]+)`", listed)) == sorted(_SETTINGS)


def test_the_files_that_name_indexes_are_listed() -> None:
    read = _section("Clients").partition("reads the files of the project")[2].partition(". If")[0]
    assert set(re.findall(r"`([\w.*]+)`", read)) - {"run"} == {*_DOCUMENTS, _REQUIREMENTS}


def test_the_commands_that_publish_without_an_option_are_listed() -> None:
    rows = re.findall(r"^\| \w+ \| `(\w+) (\w+)", _section("Publish"), re.MULTILINE)
    assert dict(rows) == _ACTIONS


def test_the_messages_about_logins_are_those_of_the_program() -> None:
    examples = re.findall(r"^pyoci-flask run: (.+)$", _TEXT, re.MULTILINE)
    missing, refused = examples
    alice = BasicCredentials("alice", "secret")
    source, command = "~/.docker/config.json (auths, ghcr.io)", "docker login ghcr.io"
    found = UsedLogin(alice, source, "alice", command)
    for example, login in ((missing, UsedLogin()), (refused, found)):
        failures = Failures()
        text = re.split(r"\. (?:No|The) login ", example)[0]
        failures.add("https://ghcr.io", text, login)
        assert failures.lines() == [example]
