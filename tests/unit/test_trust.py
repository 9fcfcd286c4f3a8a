"""The list of servers that a user trusts with logins, and the command that changes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci_flask.cli import trust
from pyoci_flask.cli.trust import Pair, Server, parse_registry
from pyoci_flask.errors import ConfigurationError
from tests.command_line import Done, command
from tests.patience import PATIENCE
from tests.servers import ROOT

_HTTPS = Pair.parse("https://packages.example.com", "ghcr.io")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "pyoci-flask" / "trust.json"


def _trust(file: Path, *arguments: str) -> Done:
    folder = str(file.parent.parent)
    return command("trust", *arguments, environ={"XDG_CONFIG_HOME": folder})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://packages.example.com", "https://packages.example.com"),
        ("https://packages.example.com/", "https://packages.example.com"),
        ("HTTPS://Packages.Example.Com:443", "https://packages.example.com"),
        ("https://packages.example.com:8443/acme/py/", "https://packages.example.com:8443/acme/py"),
        ("https://packages", "https://packages"),
        ("https://xn--pckages-2za.example.com", "https://xn--pckages-2za.example.com"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://127.8.9.10:80", "http://127.8.9.10"),
        ("http://[::1]:8080/acme", "http://[::1]:8080/acme"),
    ],
)
def test_servers_are_written_in_one_way(text: str, shown: str) -> None:
    assert str(Server.parse(text)) == shown
    assert Server.parse(shown) == Server.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "packages.example.com",
        "//packages.example.com",
        "ftp://packages.example.com",
        "https:/packages.example.com",
        "https://",
        "https://:443",
        "https://packages.example.com:0",
        "https://packages.example.com:65536",
        "https://packages.example.com:",
        "https://packages.example.com.",
        "https://pâckages.example.com",
        "https://packages.example.com/?",
        "https://packages.example.com/?a=b",
        "https://packages.example.com#",
        "https://packages.example.com\\@example.org",
        "https://packages.example.com/a/../b",
        "https://packages.example.com//a",
        "https://packages.example.com/%2e%2e",
        "https://packages.example.com/a b",
        "https://packages.example.com/\n",
        "https://secret-token@packages.example.com",
        "https://alice:secret-token@packages.example.com",
    ],
)
def test_what_is_no_server_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="must be the http or https URL of a server") as caught:
        Server.parse(text)
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "http://packages.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://127.1",
        "http://2130706433",
        "http://0.0.0.0:8080",
        "http://10.0.0.1",
        "http://[::]:8080",
        "http://[::ffff:10.0.0.1]",
    ],
)
def test_http_is_for_servers_on_this_machine(text: str) -> None:
    with pytest.raises(ValueError, match="must use https"):
        Server.parse(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ghcr.io", "ghcr.io"),
        ("GHCR.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("registry.example.com:5000", "registry.example.com:5000"),
        ("localhost:5000", "localhost:5000"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("http://ghcr.io", "http://ghcr.io"),
    ],
)
def test_registries_are_written_as_in_addresses(text: str, address: str) -> None:
    assert parse_registry(text).address == address


@pytest.mark.parametrize(
    "text", ["", "ghcr.io/acme", "localhost", "alice@ghcr.io", "ghcr.io/", "*.io"]
)
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a registry without a namespace"):
        parse_registry(text)


def test_the_embedded_registry_has_no_login_of_its_own() -> None:
    with pytest.raises(ValueError, match="a registry outside the server"):
        parse_registry("embedded")


def test_pairs_are_added_listed_and_removed(file: Path) -> None:
    assert _trust(file, "--list") == Done(0, "")
    added = _trust(file, "https://packages.example.com/acme/", "ghcr.io")
    assert added == Done(0, "https://packages.example.com/acme gets your login for ghcr.io\n")
    assert _trust(file, "http://localhost:8080", "http%3A%2F%2Flocalhost%3A5000").status == 0
    assert _trust(file, "https://packages.example.com/acme", "GHCR.IO").status == 0
    assert _trust(file, "https://packages.example.com/acme", "ghcr.io:8443").status == 0
    assert _trust(file, "--list").lines == [
        "http://localhost:8080 http://localhost:5000",
        "https://packages.example.com/acme ghcr.io",
        "https://packages.example.com/acme ghcr.io:8443",
    ]
    removed = _trust(file, "--remove", "https://packages.example.com/acme", "ghcr.io")
    assert removed.output.endswith("/acme no longer gets your login for ghcr.io\n")
    assert _trust(file, "--list").lines == [
        "http://localhost:8080 http://localhost:5000",
        "https://packages.example.com/acme ghcr.io:8443",
    ]


def test_removing_what_is_not_trusted_fails(file: Path) -> None:
    trust.add(file, _HTTPS)
    for server in ("https://packages.example.com/acme", "http://localhost", "https://example.com"):
        done = _trust(file, "--remove", server, "ghcr.io")
        assert done == Done(1, f"Error: {server} is not trusted with ghcr.io: see --list\n")
    assert trust.read_pairs(file) == {_HTTPS}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["https://packages.example.com"],
        ["--remove"],
        ["--list", "--remove"],
        ["--list", "https://packages.example.com", "ghcr.io"],
        ["https://alice:secret-token@packages.example.com", "ghcr.io"],
        ["https://packages.example.com", "secret-token@ghcr.io"],
    ],
)
def test_half_a_pair_is_refused_and_nothing_is_quoted(file: Path, arguments: list[str]) -> None:
    done = _trust(file, *arguments)
    assert done.status == 2
    assert "secret-token" not in done.output
    assert not file.exists()


def test_the_file_is_private_from_its_beginning(file: Path) -> None:
    before = os.umask(0)
    try:
        trust.add(file, _HTTPS)
        trust.add(file, Pair.parse("http://localhost:8080", "ghcr.io"))
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["trust.json"]


def test_a_link_to_the_file_is_kept(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "settings.json"
    file.parent.mkdir(parents=True)
    file.symlink_to(target)
    trust.add(file, _HTTPS)
    assert file.is_symlink()
    assert trust.read_pairs(target) == {_HTTPS}


def test_the_old_list_stays_if_the_new_one_cannot_be_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.add(file, _HTTPS)
    old = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"trust\.json cannot be written: No space left"):
        trust.add(file, Pair.parse("http://localhost:8080", "ghcr.io"))
    assert file.read_bytes() == old
    assert [path.name for path in file.parent.iterdir()] == ["trust.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"trusted": 1}',
        b'{"trusted": "ghcr.io"}',
        b'{"trusted": ["ghcr.io"]}',
        b'{"trusted": [{"server": "https://packages.example.com"}]}',
        b'{"trusted": [{"server": 1, "registry": "ghcr.io"}]}',
        b'{"trusted": [{"server": "https://packages.example.com", "registry": []}]}',
        b'{"trusted": [{"server": "http://packages.example.com", "registry": "ghcr.io"}]}',
        b'{"trusted": [{"server": "https://packages.example.com", "registry": "embedded"}]}',
    ],
)
def test_a_damaged_list_is_an_error_that_says_what_to_do(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    for arguments in (["--list"], ["https://packages.example.com", "ghcr.io"]):
        done = _trust(file, *arguments)
        assert done.status == 1
        assert done.output == f"Error: {file} is damaged: remove it, and trust the servers again\n"
    assert file.read_bytes() == content


def test_a_list_that_is_too_large_is_not_read(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(" " * (1 << 20) + "{}")
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*larger than 1048576 bytes"):
        trust.read_pairs(file)


def test_a_pipe_or_a_folder_instead_of_the_list_is_not_read(file: Path) -> None:
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*not a regular file"):
        trust.read_pairs(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*not a regular file"):
        trust.read_pairs(file)


def test_the_list_is_in_the_folder_for_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert trust.trust_file() == Path("/home/alice/.config/pyoci-flask/trust.json")
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    assert trust.trust_file() == Path("/home/alice/.config/pyoci-flask/trust.json")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/alice")
    assert trust.trust_file() == Path("/etc/alice/pyoci-flask/trust.json")


@pytest.mark.slow
def test_changes_at_the_same_time_are_all_kept(file: Path) -> None:
    registries = [f"registry{number}.example" for number in range(6)]
    environ = {**os.environ, "XDG_CONFIG_HOME": str(file.parent.parent), "PYTHONPATH": str(ROOT)}
    script = (
        "import sys; from pyoci_flask.cli.trust import Pair, add, trust_file; sys.stdin.read();"
        "[add(trust_file(), Pair.parse(f'https://s{n}.example', sys.argv[1])) for n in range(20)]"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, name], env=environ, stdin=subprocess.PIPE, text=True
        )
        for name in registries
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(PATIENCE) for process in started] == [0] * len(registries)
    assert len(trust.read_pairs(file)) == 20 * len(registries)
    assert [one.name for one in file.parent.iterdir()] == [file.name]
