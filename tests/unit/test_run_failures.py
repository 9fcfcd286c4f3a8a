"""What a person reads at the end of a run about failures of the registry."""

import socket

import pytest

from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.logins import UsedLogin
from pyoci_flask.cli.run.run import _serve
from pyoci_flask.transport.request import BasicCredentials

_DENIED = "ghcr.io denied the request (403) while listing versions in ghcr.io/acme/lib"


def login(source: str, username: str = "alice", command: str = "") -> UsedLogin:
    return UsedLogin(BasicCredentials(username, "s3cret"), source, username, command)


def line(found: UsedLogin | None, registry: str = "ghcr.io") -> str:
    failures = Failures()
    failures.add(registry, _DENIED, found)
    (only,) = failures.lines()
    assert "s3cret" not in only
    return only.removeprefix(f"{_DENIED}. ")


def test_a_missing_login_can_be_made() -> None:
    expected = "No login for ghcr.io was found. `docker login ghcr.io` creates one"
    assert line(UsedLogin()) == expected
    local = "No login for localhost:5000 was found. `docker login localhost:5000` creates one"
    assert line(UsedLogin(), "http://localhost:5000") == local


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("podman login ghcr.io/acme", "`podman login ghcr.io/acme` replaces it"),
        ("", "replace it there"),
    ],
)
def test_a_login_that_was_refused_is_named_with_a_way_to_replace_it(
    command: str, advice: str
) -> None:
    expected = f"The login is alice, from FILE. If it is wrong or has expired, {advice}"
    assert line(login("FILE", command=command)) == expected


def test_a_login_without_a_user_name_is_named_by_its_source() -> None:
    assert line(login("~/.netrc", "")).startswith("The login is from ~/.netrc.")


def test_a_failure_that_is_not_about_a_login_names_none() -> None:
    assert line(None) == _DENIED


def test_a_login_is_reported_once_for_all_projects() -> None:
    failures = Failures()
    for number in range(100):
        failures.add("ghcr.io", f"ghcr.io denied the request for p{number}", login("~/.netrc"))
        failures.add("ghcr.io", f"ghcr.io asks for credentials for p{number}", UsedLogin())
        failures.add("quay.io", f"quay.io denied the request for p{number}", login("~/.netrc"))
    said = failures.lines()
    assert len(said) == 3
    assert all("p0" in one for one in said)


def test_only_the_first_few_failures_are_shown() -> None:
    failures = Failures()
    for number in range(10):
        failures.add("ghcr.io", f"failure {number}")
        failures.add("ghcr.io", f"failure {number}")
    assert failures.lines() == [
        "failure 0",
        "failure 1",
        "failure 2",
        "the log has more failures",
    ]
    assert Failures().lines() == []


def test_an_unexpected_error_of_the_start_is_said_and_requests_fail_at_once() -> None:
    def build() -> None:
        raise RuntimeError("unexpected")

    failures, listener = Failures(), socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with pytest.raises(RuntimeError, match="unexpected"):
        _serve(listener, build, failures)
    assert failures.lines() == [
        "the indexes cannot be served, because of an error that is in the log"
    ]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
