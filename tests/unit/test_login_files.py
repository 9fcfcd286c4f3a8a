"""Which login is found in the files of Docker and Podman, and where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci_flask.cli.login import FoundLogin, find_login, host_of
from pyoci_flask.cli.login.files import home_folder
from pyoci_flask.cli.login.keys import Place, place_of
from pyoci_flask.cli.trust import trust_file
from pyoci_flask.errors import LoginError
from tests.servers import ROOT
from tests.unit.login_lab import DOCKER, SECRET, Home, auth, texts_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


_NAMESPACES = {
    "ghcr.io": auth("host"),
    "ghcr.io/acme": auth("acme"),
    "ghcr.io/acme/team": auth("team"),
}
_GHCR = ("ghcr.io", "")
_HUB = "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("auths", "host", "namespace", "found"),
    [
        (_NAMESPACES, "ghcr.io", "acme/team/tools", ("team", "ghcr.io/acme/team")),
        (_NAMESPACES, "ghcr.io", "acme/team", ("team", "ghcr.io/acme/team")),
        (_NAMESPACES, "ghcr.io", "acme/teams", ("acme", "ghcr.io/acme")),
        (_NAMESPACES, "ghcr.io", "other", ("host", "ghcr.io")),
        (_NAMESPACES, "ghcr.io", "", ("host", "ghcr.io")),
        (_NAMESPACES, "quay.io", "acme", None),
        (_NAMESPACES, "ghcr.io.evil.example", "acme", None),
        (_NAMESPACES, "evil-ghcr.io", "acme", None),
        (_NAMESPACES, "ghcr.io:5000", "acme", None),
        (_NAMESPACES, "ghcr.io:80", "acme", None),
        ({"ghcr.io/acme": auth("acme")}, "ghcr.io", "", None),
        ({"https://ghcr.io": auth("u")}, "ghcr.io", "", ("u", "ghcr.io")),
        ({"https://ghcr.io/v1/": auth("u")}, "ghcr.io", "acme", ("u", "ghcr.io")),
        ({"https://ghcr.io/v2": auth("u")}, "ghcr.io", "acme", ("u", "ghcr.io")),
        ({"GHCR.io:443/": auth("u")}, "ghcr.io", "acme", ("u", "ghcr.io")),
        ({"https://ghcr.io/acme/": auth("u")}, "ghcr.io", "acme", ("u", "ghcr.io/acme")),
        ({"ghcr.io": auth("u")}, "ghcr.io:443", "", ("u", "ghcr.io")),
        ({"http://ghcr.io": auth("u")}, "ghcr.io", "", None),
        ({"http://ghcr.io": auth("u")}, "ghcr.io:80", "", ("u", "ghcr.io:80")),
        ({"http://h:5000/v2/": auth("u")}, "h:5000", "", ("u", "h:5000")),
        ({"[::1]:5000": auth("u")}, "[::1]:5000", "a", ("u", "[::1]:5000")),
        ({"[::1]": auth("u")}, "[::1]", "a", ("u", "[::1]")),
        ({"https://ghcr.io": auth("x"), "ghcr.io": auth("u")}, "ghcr.io", "", ("u", "ghcr.io")),
        ({"ghcr.io": {}, "https://ghcr.io": auth("u")}, "ghcr.io", "", ("u", "ghcr.io")),
        ({_HUB: auth("u")}, "docker.io", "acme", ("u", "docker.io")),
        ({_HUB: auth("u")}, "registry-1.docker.io", "acme", ("u", "docker.io")),
        ({"docker.io": auth("u")}, "index.docker.io", "acme", ("u", "docker.io")),
        ({"index.docker.io": auth("u")}, "docker.io", "acme", ("u", "docker.io")),
        ({"registry-1.docker.io/acme": auth("u")}, "docker.io", "acme", ("u", "docker.io/acme")),
        ({"docker.io": auth("u")}, "hub.docker.io", "acme", None),
        # Entries that are no logins.
        ({"ghcr.io": {}}, "ghcr.io", "", None),
        ({"ghcr.io": {"auth": ""}}, "ghcr.io", "", None),
        ({"ghcr.io": {"registrytoken": "bearer"}}, "ghcr.io", "", None),
        ({"ghcr.io": auth("", "pw")}, "ghcr.io", "", None),
        ({"ghcr.io": auth("u", "")}, "ghcr.io", "", None),
        ({"ghcr.io/acme": {}, "ghcr.io": auth("u")}, "ghcr.io", "acme", ("u", "ghcr.io")),
        ({"ghcr.io": "text"}, "ghcr.io", "", None),
        ({"ghcr.io": {"auth": 7}}, "ghcr.io", "", None),
        ({"ghcr.io": {"username": "\ud800", "password": "pw"}}, "ghcr.io", "", None),
        (["ghcr.io"], "ghcr.io", "", None),
        # Keys that are no addresses.
        ({"someone@ghcr.io": auth("u")}, "ghcr.io", "", None),
        ({"https://ghcr.io@evil.example": auth("u")}, "ghcr.io", "", None),
        ({"https://[broken": auth("x"), "": auth("x"), "/": auth("x")}, "ghcr.io", "", None),
        ({"ghcr.io\n": auth("x"), "gh\tcr.io": auth("x"), " ghcr.io": auth("x")}, *_GHCR, None),
        ({"ghcr.io?a": auth("x"), "ghcr.io#a": auth("x"), "ghcr.io:x": auth("x")}, *_GHCR, None),
        ({f"ghcr.io{'/' * 1000}": auth("x")}, *_GHCR, None),
    ],
)
def test_the_entry_of_a_host_and_the_smallest_namespace_is_found(
    home: Home, auths: object, host: str, namespace: str, found: tuple[str, str] | None
) -> None:
    home.write(DOCKER, {"auths": auths})
    login = home.find(host, namespace)
    if found is None:
        assert login is None
    else:
        assert login == FoundLogin(found[0], SECRET, f"~/{DOCKER} (auths, {found[1]})")


@pytest.mark.parametrize(
    ("file", "document", "command"),
    [
        (DOCKER, {"auths": {"ghcr.io": auth()}}, "docker login ghcr.io"),
        (DOCKER, {"auths": {"ghcr.io/acme": auth()}}, "podman login ghcr.io/acme"),
        ("run/containers/auth.json", {"auths": {"ghcr.io": auth()}}, "podman login ghcr.io"),
        (DOCKER, {"credHelpers": {"ghcr.io": "one"}}, "docker login ghcr.io"),
        (DOCKER, {"credsStore": "one"}, "docker login ghcr.io"),
        (".netrc", None, ""),
    ],
)
def test_a_login_comes_with_the_command_that_replaces_it(
    home: Home, file: str, document: object, command: str
) -> None:
    home.keeper("one", {"ghcr.io": ("alice", SECRET)})
    home.write(file, document or f"machine ghcr.io login alice password {SECRET}\n")
    login = home.find("ghcr.io", "acme")
    assert login is not None
    assert login.command == command


@pytest.mark.parametrize(
    ("entry", "username", "password", "is_identity_token"),
    [
        (auth("alice", "with:colons:"), "alice", "with:colons:", False),
        (auth("älice", "pässword"), "älice", "pässword", False),
        (auth("alice", "padded\0\0"), "alice", "padded", False),
        ({"auth": f" {auth()['auth'][:10]}\n{auth()['auth'][10:]}\n"}, "alice", SECRET, False),
        ({"username": "bob", "password": "pw"}, "bob", "pw", False),
        ({"username": "bob", "password": "pw", **auth()}, "alice", SECRET, False),
        ({"identitytoken": "refresh"}, "<token>", "refresh", True),
        ({"identitytoken": "refresh", **auth("0000-0000", "")}, "0000-0000", "refresh", True),
        ({"identitytoken": "", **auth()}, "alice", SECRET, False),
        ({"auth": None, "email": "a@b", "identitytoken": "refresh"}, "<token>", "refresh", True),
    ],
)
def test_an_entry_is_read_in_each_of_its_forms(
    home: Home, entry: object, username: str, password: str, *, is_identity_token: bool
) -> None:
    home.write(DOCKER, {"auths": {"ghcr.io": entry}})
    login = home.find("ghcr.io")
    assert login is not None
    found = login.username, login.password, login.is_identity_token
    assert found == (username, password, is_identity_token)


@pytest.mark.parametrize("encoded", ["?", "abc", "YWxpY2U=", "/////w==", "ÿ", f"{SECRET}!"])
def test_an_entry_that_cannot_be_decoded_is_an_error_that_names_it(
    home: Home, encoded: str
) -> None:
    home.write(DOCKER, {"auths": {"ghcr.io/acme": {"auth": encoded}, "quay.io": auth()}})
    with pytest.raises(LoginError) as caught:
        home.find("ghcr.io", "acme")
    assert str(caught.value) == (
        "the login for ghcr.io/acme in ~/.docker/config.json cannot be decoded: log in again"
    )
    assert not any(SECRET in text for text in texts_of(caught.value))
    assert home.find("quay.io") is not None


_FILES = ("chosen.json", "run/containers/auth.json", ".config/containers/auth.json", DOCKER)


def test_the_files_are_read_in_order_until_one_has_the_login(home: Home) -> None:
    home.environ["REGISTRY_AUTH_FILE"] = str(home.folder / "chosen.json")
    for number, name in enumerate(_FILES):
        home.write(name, {"auths": {f"host{number}.example": auth(), "all.example": auth(name)}})
    for number, name in enumerate(_FILES):
        # The file that the user chose replaces the one that Podman would write.
        expected = None if number == 1 else f"~/{name} (auths, host{number}.example)"
        login = home.find(f"host{number}.example")
        assert (login.source if login else None) == expected
    assert home.find("all.example") == FoundLogin(
        "chosen.json", SECRET, "~/chosen.json (auths, all.example)"
    )
    del home.environ["REGISTRY_AUTH_FILE"]
    order = []
    for name in _FILES[1:]:
        login = home.find("all.example")
        order.append(login.username if login else None)
        (home.folder / name).unlink()
    assert order == list(_FILES[1:])
    assert home.find("all.example") is None


def test_variables_name_the_folders(home: Home, tmp_path: Path) -> None:
    for variable, name, other in (
        ("DOCKER_CONFIG", "config.json", DOCKER),
        ("XDG_CONFIG_HOME", "containers/auth.json", ".config/containers/auth.json"),
    ):
        home.write(other, {"auths": {"ghcr.io": auth("elsewhere")}})
        home.environ[variable] = str(tmp_path / variable)
        assert home.find("ghcr.io") is None
        home.write(str(tmp_path / variable / name), {"auths": {"ghcr.io": auth("here")}})
        login = home.find("ghcr.io")
        assert login is not None
        assert login.source == f"{tmp_path}/{variable}/{name} (auths, ghcr.io)"
        del home.environ[variable]
        (home.folder / other).unlink()
        (tmp_path / variable / name).unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="Podman has this folder only on Linux")
def test_a_user_without_a_runtime_folder_has_one_in_run(home: Home) -> None:
    from pyoci_flask.cli.login.files import login_files

    del home.environ["XDG_RUNTIME_DIR"]
    first = next(iter(login_files(home.environ)))
    assert str(first.path) == f"/run/containers/{os.getuid()}/auth.json"


@pytest.mark.parametrize("content", ["", " \n", "{}", '{"auths": {}}', '{"auths": null}'])
def test_a_file_without_logins_is_passed_over(home: Home, content: str) -> None:
    home.write("run/containers/auth.json", content)
    home.write(DOCKER, {"auths": {"ghcr.io": auth()}})
    assert home.find("ghcr.io") is not None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not a JSON object"),
        (b"[]", "is not a JSON object"),
        (b'"text"', "is not a JSON object"),
        (b"[" * 500_000, "is not a JSON object"),
        (b'{"auths":' * 50_000, "is not a JSON object"),
        (b'{"a": ' + b"1" * 100_000 + b"}", "is not a JSON object"),
        (b"\xff\xfe{}", "is not a JSON object"),
        (SECRET.encode(), "is not a JSON object"),
        (json.dumps({"auths": {"ghcr.io": auth()}, "x": "y" * 1024 * 1024}).encode(), "larger"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it_and_quotes_nothing(
    home: Home, content: bytes, reason: str
) -> None:
    home.write("run/containers/auth.json", content)
    home.write(DOCKER, {"auths": {"ghcr.io": auth()}})
    with pytest.raises(LoginError, match=reason) as caught:
        home.find("ghcr.io")
    assert str(caught.value).startswith("~/run/containers/auth.json ")
    assert not any(SECRET in text for text in texts_of(caught.value))


def test_a_folder_and_a_pipe_are_not_read(home: Home) -> None:
    (home.folder / DOCKER).mkdir(parents=True)
    with pytest.raises(LoginError, match="not a regular file"):
        home.find("ghcr.io")
    (home.folder / DOCKER).rmdir()
    os.mkfifo(home.folder / DOCKER)
    with pytest.raises(LoginError, match="not a regular file"):
        home.find("ghcr.io")


def test_a_file_that_the_system_does_not_open_is_named(home: Home) -> None:
    path = home.write(DOCKER, "")
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(LoginError) as caught:
        home.find("ghcr.io")
    assert str(caught.value) == (
        f"~/{DOCKER} cannot be read (Too many levels of symbolic links): correct this, or remove "
        "the file"
    )


def test_a_chosen_file_must_exist(home: Home) -> None:
    home.environ["REGISTRY_AUTH_FILE"] = str(home.folder / "missing.json")
    with pytest.raises(LoginError, match=r"missing\.json, which does not exist: log in, or unset"):
        home.find("ghcr.io")


@pytest.mark.parametrize("host", ["", "[broken", "a@ghcr.io", "/", "https://ghcr.io@evil"])
def test_what_is_no_host_has_no_login(home: Home, host: str) -> None:
    home.write(DOCKER, {"auths": {"ghcr.io": auth(), host: auth()}})
    home.write(".netrc", f"default login alice password {SECRET}\n")
    assert home.find(host) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io:443/v2/", "ghcr.io"),
        ("https://GHCR.io:5000", "ghcr.io:5000"),
        ("http://ghcr.io", "ghcr.io:80"),
        ("http://ghcr.io:443", "http://ghcr.io:443"),
        ("http://localhost:5000", "localhost:5000"),
        ("http://[::1]", "[::1]:80"),
        ("https://[::1]:443", "[::1]"),
        ("https://registry-1.docker.io", "docker.io"),
        ("https://alice:pw@packages.example.com/simple/", "packages.example.com"),
    ],
)
def test_the_host_of_a_url_has_a_port_unless_it_is_that_of_https(url: str, host: str) -> None:
    assert host_of(url) == host


def test_a_login_for_https_is_not_found_for_http_on_its_port(home: Home) -> None:
    home.write(DOCKER, {"auths": {"ghcr.io": auth(), "ghcr.io:443": auth()}})
    home.write(".netrc", f"machine ghcr.io login alice password {SECRET}\n")
    assert home.find(host_of("http://ghcr.io:443")) is None


def test_a_user_without_a_home_has_that_of_docker(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    del home.environ["HOME"]
    assert home_folder(home.environ) == Path("/")
    assert trust_file() == Path("/.config/pyoci-flask/trust.json")
    home.environ["DOCKER_CONFIG"] = str(home.folder / ".docker")
    home.write(DOCKER, {"auths": {"ghcr.io": auth()}})
    assert home.find("ghcr.io") is not None


def test_a_place_is_named_as_people_write_it() -> None:
    assert str(Place("ghcr.io", "acme/team")) == "ghcr.io/acme/team"
    assert place_of("https://ghcr.io/acme/team/") == Place("ghcr.io", "acme/team")


def test_a_login_does_not_show_its_secret(home: Home) -> None:
    home.write(DOCKER, {"auths": {"ghcr.io": auth()}})
    assert SECRET not in repr(home.find("ghcr.io"))


def test_the_environment_of_the_process_is_the_default(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write(DOCKER, {"auths": {"ghcr.io": auth()}})
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in home.environ.items():
        monkeypatch.setenv(name, value)
    assert find_login("ghcr.io") == home.find("ghcr.io")


def test_the_search_imports_neither_the_server_nor_requests() -> None:
    code = (
        "import sys, pyoci_flask.cli.login\n"
        "heavy = {'flask', 'werkzeug', 'requests', 'urllib3', 'click', 'rich', 'gunicorn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
