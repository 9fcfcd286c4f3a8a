"""Logins from `.netrc`, which are used last."""

import os
from pathlib import Path

import pytest

from pyoci_flask.cli.login import FoundLogin
from tests.unit.login_lab import DOCKER, SECRET, Home, auth


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


_MACHINES = f"""
machine ghcr.io login alice password {SECRET}
machine account.example account bob password {SECRET}
machine half.example login carol
"""


@pytest.mark.parametrize(
    ("host", "username", "password"),
    [
        ("ghcr.io", "alice", SECRET),
        ("ghcr.io:5000", "alice", SECRET),
        ("ghcr.io:80", "alice", SECRET),
        ("account.example", "bob", SECRET),
        ("half.example", "carol", ""),
    ],
)
def test_a_machine_is_found_whatever_the_port(
    home: Home, host: str, username: str, password: str
) -> None:
    home.write(".netrc", _MACHINES)
    assert home.find(host, "acme") == FoundLogin(username, password, "~/.netrc")
    assert home.find("quay.io") is None


def test_the_default_of_the_file_is_for_every_host(home: Home) -> None:
    home.write(".netrc", f"default login alice password {SECRET}\n")
    assert home.find("quay.io") == FoundLogin("alice", SECRET, "~/.netrc")


def test_the_files_of_docker_and_podman_go_first(home: Home) -> None:
    home.write(".netrc", _MACHINES)
    home.write(DOCKER, {"auths": {"ghcr.io": auth("docker")}})
    login = home.find("ghcr.io")
    assert login is not None
    assert login.username == "docker"


def test_a_variable_names_another_file(home: Home, tmp_path: Path) -> None:
    home.write(".netrc", _MACHINES)
    home.environ["NETRC"] = str(tmp_path / "other")
    assert home.find("ghcr.io") is None
    home.write(str(tmp_path / "other"), "machine ghcr.io login other password pw\n")
    assert home.find("ghcr.io") == FoundLogin("other", "pw", str(tmp_path / "other"))
    home.environ["NETRC"] = "~/.netrc"
    assert home.find("ghcr.io") == FoundLogin("alice", SECRET, "~/.netrc")


def test_a_file_with_an_underscore_is_found(home: Home) -> None:
    home.write("_netrc", _MACHINES)
    assert home.find("ghcr.io") == FoundLogin("alice", SECRET, "~/_netrc")


@pytest.mark.parametrize(
    "content",
    [
        f"machine ghcr.io login alice nonsense {SECRET}\n",
        "machine",
        b"\xff\xfe\x00",
        _MACHINES + "#" * 1024 * 1024,
        "",
    ],
)
def test_a_damaged_file_has_no_login(home: Home, content: str | bytes) -> None:
    home.write(".netrc", content)
    assert home.find("ghcr.io") is None


def test_what_is_no_file_is_not_read(home: Home) -> None:
    (home.folder / ".netrc").mkdir()
    assert home.find("ghcr.io") is None
    (home.folder / ".netrc").rmdir()
    os.mkfifo(home.folder / ".netrc")
    assert home.find("ghcr.io") is None
    home.environ["NETRC"] = os.devnull
    assert home.find("ghcr.io") is None
