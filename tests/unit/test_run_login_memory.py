"""The logins of one run."""

import os
import threading
import time
from pathlib import Path

import pytest

from pyoci_flask.cli.run.logins import Logins, UsedLogin
from pyoci_flask.errors import LoginError
from pyoci_flask.settings import PinnedIndex
from pyoci_flask.transport.request import BasicCredentials, BearerCredentials, IdentityToken
from tests.patience import PATIENCE
from tests.run_lab import auth, write_config, write_helper

_ACME, _TEAM = PinnedIndex.parse("ghcr.io/acme"), PinnedIndex.parse("ghcr.io/team")
_GIVEN = BasicCredentials("given", "g1ven")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return tmp_path


def test_each_namespace_has_its_own_login(home: Path) -> None:
    entries = {"ghcr.io": auth("alice", "one"), "ghcr.io/team": auth("bob", "two")}
    write_config(home, {"auths": entries})
    logins = Logins(None, None, None)
    found = logins.find(_ACME)
    assert (found.credentials, found.username) == (BasicCredentials("alice", "one"), "alice")
    assert found.source == "~/.docker/config.json (auths, ghcr.io)"
    assert logins.find(_TEAM).credentials == BasicCredentials("bob", "two")
    assert logins.find(PinnedIndex.parse("quay.io/acme")) == UsedLogin()


def test_a_login_for_https_is_not_used_over_http(home: Path) -> None:
    write_config(home, {"auths": {"ghcr.io": auth("alice", "one")}})
    assert Logins(None, None, None).find(PinnedIndex.parse("http://ghcr.io/acme")) == UsedLogin()


def test_a_given_login_is_for_its_registry_only(home: Path) -> None:
    write_config(home, {"auths": {"quay.io": auth("alice", "one")}})
    logins = Logins(_GIVEN, _ACME.registry, None)
    found = logins.find(_TEAM)
    assert (found.credentials, found.source) == (_GIVEN, "PYOCI_USERNAME and PYOCI_PASSWORD")
    other = logins.find(PinnedIndex.parse("quay.io/acme"))
    assert other.credentials == BasicCredentials("alice", "one")
    assert logins.find(PinnedIndex.parse("http://ghcr.io/acme")) == UsedLogin()


def test_a_login_is_kept_until_it_is_refused(home: Path) -> None:
    logins = Logins(None, None, None)
    for password in ("one", "two"):
        write_config(home, {"auths": {"ghcr.io": auth("alice", password)}})
        if password == "two":
            assert logins.find(_ACME).credentials == BasicCredentials("alice", "one")
            logins.forget(_ACME)
        assert logins.find(_ACME).credentials == BasicCredentials("alice", password)


def test_a_helper_is_asked_once_by_many_threads(home: Path) -> None:
    write_helper(home / "bin", "count", "alice", "one")
    program = home / "bin" / "docker-credential-count"
    program.write_text(f"{program.read_text()}echo x >> {home}/asked\n")
    write_config(home, {"credHelpers": {"ghcr.io": "count"}})
    logins = Logins(None, None, None)
    together = threading.Barrier(8)
    found = []

    def find() -> None:
        together.wait(PATIENCE)
        found.append(logins.find(_ACME).credentials)

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [BasicCredentials("alice", "one")] * 8
    assert (home / "asked").read_text() == "x\n"


def test_a_helper_that_fails_slowly_is_asked_once_by_threads_that_wait(home: Path) -> None:
    many = 8
    write_helper(home / "bin", "slow", "alice", "one")
    program = home / "bin" / "docker-credential-slow"
    program.write_text(f"#!/bin/sh\necho x >> {home}/asked\nread -r line < {home}/gate\nexit 1\n")
    os.mkfifo(home / "gate")
    write_config(home, {"credHelpers": {"ghcr.io": "slow"}})
    logins = Logins(None, None, None)
    errors = []

    def find() -> None:
        with pytest.raises(LoginError) as caught:
            logins.find(_ACME)
        errors.append(str(caught.value))

    threads = [threading.Thread(target=find) for _ in range(many)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    while logins._locks._held.get(_ACME, (None, 0))[1] < many:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (home / "gate").write_text("go\n")
    for thread in threads:
        thread.join()
    assert (len(errors), len(set(errors))) == (many, 1)
    assert (home / "asked").read_text() == "x\n"


def test_tokens_are_sent_as_what_they_are_and_have_no_user_name(home: Path) -> None:
    entries = {
        "ghcr.io": {"identitytoken": "refresh"},
        "quay.io": auth("bearer", "t0ken"),
    }
    write_config(home, {"auths": entries})
    logins = Logins(None, None, "bearer")
    found = logins.find(_ACME)
    assert isinstance(found.credentials, IdentityToken)
    assert found.username == ""
    found = logins.find(PinnedIndex.parse("quay.io/acme"))
    assert (found.credentials, found.username) == (BearerCredentials("t0ken"), "")


def test_a_damaged_file_is_an_error_each_time(home: Path) -> None:
    write_config(home, {})
    (home / ".docker" / "config.json").write_text("{")
    logins = Logins(None, None, None)
    for _ in range(2):
        with pytest.raises(LoginError, match=r"config\.json"):
            logins.find(_ACME)
    write_config(home, {"auths": {"ghcr.io": auth("alice", "one")}})
    assert logins.find(_ACME).credentials == BasicCredentials("alice", "one")
