"""Where the commands' credentials come from, and the arguments before them."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pyoci_flask.cli import arguments
from pyoci_flask.cli.arguments import Address, Login
from pyoci_flask.cli.main import main
from pyoci_flask.transport.request import BasicCredentials
from tests.command_line import command

_CONTEXT = click.Context(main)
_PARAMETER = click.Argument(["index"])
_URL = "https://packages.example.com/simple/"


@pytest.fixture(autouse=True)
def _no_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_a_pair_makes_credentials_and_nothing_makes_none() -> None:
    assert Login("alice", "pw").credentials(_URL, "it") == BasicCredentials("alice", "pw")
    assert Login().credentials(_URL, "it") is None


def test_netrc_is_looked_at_only_where_nothing_is_given(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine packages.example.com login bob password kept\n")
    assert Login().credentials(_URL, "it") == BasicCredentials("bob", "kept")
    assert Login("alice", "pw").credentials(_URL, "it") == BasicCredentials("alice", "pw")
    assert Login().credentials("https://example.org/", "it") is None


def test_a_half_of_it_is_refused_where_nobody_can_be_asked() -> None:
    with pytest.raises(click.UsageError, match="a user name for it was given, but no password"):
        Login("alice").credentials(_URL, "it")
    with pytest.raises(click.UsageError, match="a password for it was given, but no user name"):
        Login(password="pw").credentials(_URL, "it")


def test_options_go_over_what_stands_in_the_address() -> None:
    address = Login("from-url", "url-pw")
    assert Login().over(address) == address
    assert Login("alice", "pw").over(address) == Login("alice", "pw")
    assert Login(password="pw").over(Login("alice")) == Login("alice", "pw")


def test_a_password_does_not_show_in_a_representation() -> None:
    assert "pw-text" not in repr(Login("alice", "pw-text"))


def test_an_empty_standard_input_is_no_password() -> None:
    arguments_of_check = ["check", "ghcr.io/acme", "--username", "a", "--password-stdin"]
    result = CliRunner().invoke(main, arguments_of_check, input="\n")
    assert result.exit_code == 2
    assert "no password was given on standard input" in result.output


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("http://localhost:8080/simple", "http://localhost:8080/simple/", Login()),
        (
            "https://al%40ice:p%2Fw@example.com/a/b//",
            "https://example.com/a/b/",
            Login("al@ice", "p/w"),
        ),
        ("https://token@example.com", "https://example.com/", Login("token")),
        (
            "http://h:1/http%3A%2F%2Fl%3A5/team/",
            "http://h:1/http%3A%2F%2Fl%3A5/team/",
            Login(),
        ),
    ],
)
def test_an_address_is_taken_apart(text: str, url: str, login: Login) -> None:
    assert arguments.address(_CONTEXT, _PARAMETER, text) == Address(url, login)


@pytest.mark.parametrize(
    "text",
    [
        "packages.example.com/simple",
        "ftp://example.com/",
        "https:///simple/",
        "https://example.com/?page=1",
        "https://example.com/#x",
        "https://u:s3cret@[broken/",
        "https://u:s3cret@example.com:99999/",
        "https://ex\u00e4mple.com/",
    ],
)
def test_what_is_no_address_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        arguments.address(_CONTEXT, _PARAMETER, text)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "registry", "namespace"),
    [
        ("ghcr.io/acme", "https://ghcr.io", "acme"),
        ("http://localhost:5000/team/python", "http://localhost:5000", "team/python"),
        ("http%3A%2F%2Flocalhost%3A5000/team", "http://localhost:5000", "team"),
        ("registry:5000/team/", "https://registry:5000", "team"),
    ],
)
def test_a_registry_and_namespace_are_read_in_every_spelling(
    text: str, registry: str, namespace: str
) -> None:
    index = arguments.registry_index(_CONTEXT, _PARAMETER, text)
    assert (index.registry.origin, index.namespace) == (registry, namespace)


@pytest.mark.parametrize("text", ["ghcr.io", "", "u:s3cret@ghcr.io/acme", "ghcr.io/Not Allowed"])
def test_what_is_no_registry_and_namespace_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        arguments.registry_index(_CONTEXT, _PARAMETER, text)
    assert "s3cret" not in str(caught.value)


def test_projects_are_checked_and_named_once() -> None:
    names = arguments.projects(_CONTEXT, _PARAMETER, ("Foo.Bar", "foo-bar", "baz"))
    assert [name.normalized for name in names] == ["foo-bar", "baz"]
    with pytest.raises(click.BadParameter, match="is not a project name"):
        arguments.projects(_CONTEXT, _PARAMETER, ("../foo",))
    with pytest.raises(click.BadParameter, match="is not a project name"):
        arguments.project(_CONTEXT, _PARAMETER, "-")


_HTTP = _URL.replace("https", "http")
_ALICE, _BOB = Login("alice", "one"), Login("bob", "two")


@pytest.mark.parametrize(
    ("target", "upload", "reader", "uploader"),
    [
        (Address(_URL, _ALICE), None, _ALICE, _ALICE),
        (Address(_URL, Login()), Address(_URL, Login()), Login(), Login()),
        (Address(_URL, _ALICE), Address("https://up.example/", Login()), _ALICE, _ALICE),
        (Address(_URL, _ALICE), Address("https://up.example/", _BOB), _ALICE, _BOB),
        (Address(_URL, Login()), Address("https://up.example/", _BOB), Login(), _BOB),
        (Address(_URL, Login()), Address("https://packages.example.com/", _BOB), _BOB, _BOB),
        (Address(_HTTP, Login()), Address("http://packages.example.com/", _BOB), _BOB, _BOB),
        (Address(_HTTP, Login()), Address("https://packages.example.com/", _BOB), Login(), _BOB),
    ],
)
def test_each_address_of_the_target_has_its_own_credentials(
    target: Address, upload: Address | None, reader: Login, uploader: Login
) -> None:
    assert arguments.target_logins(Login(), target, upload) == (reader, uploader)
    given = Login("carol", "three")
    assert arguments.target_logins(given, target, upload) == (given, given)


def test_an_https_index_does_not_take_its_files_over_http() -> None:
    # The source would be asked first: nothing is there to answer.
    done = command(
        *("copy", "https://127.0.0.1:9/simple/", _URL),
        *("--upload-url", "http://bob:two@packages.example.com/"),
    )
    assert done.status == 2
    assert done.lines[-1] == "Error: --upload-url must be https, as TARGET_INDEX is"
