"""`pyoci-flask yank` and `delete`, straight in a registry, with the logins that people have."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.app import create_app
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.command_line import Done, command
from tests.conftest import AppServer
from tests.doubles import answering, closed_port, wsgi_server
from tests.integration.index_client import IndexClient
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE
from tests.quirks.profiles import PROFILES
from tests.quirks.registry import quirky_registry
from tests.quirks.tokens import OWNER, READER
from tests.registries import RunningRegistry, docker_registry
from tests.run_process import Terminal
from tests.unit.login_lab import DOCKER, Home, auth

_CTRL_C = "\x03"
_ENDS = 10.0
"""Seconds. A program that was interrupted has ended by then, even on a busy machine."""
_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@dataclass(frozen=True, slots=True)
class _Lab:
    """An index that a server serves as well, and the home of a user who may change it."""

    url: str
    index: IndexClient
    home: Home
    folder: Path

    def publish(self, *versions: str, name: str = "foo-bar") -> None:
        """Publish a wheel and an sdist of each version."""
        for version in versions:
            for make in (make_wheel, make_sdist):
                self.index.published(make(self.folder, name, version), name, version)

    def listed(self, name: str = "foo-bar") -> dict[str, bool | str]:
        """Return the files that the server lists, and whether each is yanked."""
        reply = self.index.get(f"/{name}/", headers=_JSON)
        assert reply.status_code == 200, reply.text
        return {file["filename"]: file["yanked"] for file in reply.json()["files"]}

    def run(self, what: str, *arguments: str, **environ: str) -> Done:
        """Run `yank` or `delete` in this index."""
        return command(what, self.url, *arguments, environ=self.home.environ | environ)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that remembers no listing: what it shows is what the registry has now."""
    app = create_app(Settings.from_env({"PYOCI_CACHE_TTL": "0"}))
    with wsgi_server(app) as url:
        yield url
    app.extensions[EXTENSION].transport.close()


@pytest.fixture
def lab(
    server: str,
    docker_htpasswd: RunningRegistry,
    namespace: str,
    tmp_path: Path,
    http: requests.Session,
) -> _Lab:
    assert docker_htpasswd.auth is not None
    home = Home(tmp_path / "home")
    home.write(DOCKER, {"auths": {docker_htpasswd.netloc: auth(*docker_htpasswd.auth)}})
    index = IndexClient(
        f"{server}/{docker_htpasswd.address}/{namespace}", docker_htpasswd.auth, http
    )
    return _Lab(f"{docker_htpasswd.url}/{namespace}", index, home, tmp_path)


def test_a_version_is_yanked_with_a_reason_and_the_yank_taken_back(lab: _Lab) -> None:
    lab.publish("1.0", "2.0")
    done = lab.run("yank", "Foo.Bar", "1.0", "--reason", "broken on Windows")
    assert (done.status, done.output) == (0, "yanked foo-bar 1.0\n")
    assert lab.listed()["foo_bar-1.0.tar.gz"] == "broken on Windows"
    assert lab.listed()["foo_bar-2.0.tar.gz"] is False
    undone = lab.run("yank", "foo-bar", "1.0", "--undo")
    assert (undone.status, undone.output) == (0, "un-yanked foo-bar 1.0\n")
    assert set(lab.listed().values()) == {False}


def test_one_file_is_yanked_without_a_reason(lab: _Lab) -> None:
    lab.publish("1.0")
    assert lab.run("yank", "foo-bar", "foo_bar-1.0.tar.gz").status == 0
    assert lab.listed() == {"foo_bar-1.0-py3-none-any.whl": False, "foo_bar-1.0.tar.gz": True}


def test_a_file_and_then_a_version_are_deleted_without_a_question(lab: _Lab) -> None:
    lab.publish("1.0", "2.0+local")
    done = lab.run("delete", "foo-bar", "foo_bar-1.0.tar.gz")
    assert done.status == 0
    assert done.output.startswith("deleted foo_bar-1.0.tar.gz; its bytes can be read by digest")
    assert "foo_bar-1.0.tar.gz" not in lab.listed()
    done = lab.run("delete", "foo-bar", "2.0+local", "--blobs")
    assert (done.status, done.output) == (0, "deleted foo-bar 2.0+local; 3 of 3 blobs deleted\n")
    assert list(lab.listed()) == ["foo_bar-1.0-py3-none-any.whl"]
    again = lab.run("delete", "foo-bar", "2.0+local")
    assert again.status == 1
    assert again.output.startswith("Error: ")


def test_a_project_is_not_deleted_where_nobody_can_be_asked(lab: _Lab) -> None:
    lab.publish("1.0")
    done = lab.run("delete", "foo-bar")
    assert done.status == 1
    assert done.lines[0].startswith("foo-bar in http://")
    assert "has 1 version and 2 files (" in done.lines[0]
    assert done.lines[1].startswith("1.0: foo_bar-1.0")
    assert "bytes)" in done.lines[1]
    assert done.lines[2].startswith("Error: add --yes to delete the whole project foo-bar: ")
    assert len(lab.listed()) == 2


def test_a_project_is_deleted_with_all_its_versions_in_a_script(lab: _Lab) -> None:
    lab.publish("1.0", "2.0rc1")
    done = lab.run("delete", "Foo_Bar", "--yes")
    assert done.status == 0, done.output
    assert [line.partition(";")[0] for line in done.lines[3:]] == [
        "deleted foo-bar 2.0rc1",
        "deleted foo-bar 1.0",
        "deleted foo-bar with 2 versions",
    ]
    assert lab.listed() == {}
    empty = lab.run("delete", "foo-bar", "--yes")
    assert (empty.status, empty.lines) == (
        0,
        ["foo-bar has no versions, so there is nothing to delete"],
    )


def _interrupt_again(terminal: Terminal, process: "subprocess.Popen[bytes]") -> None:
    """Type Ctrl-C until the program ends: `input` misses one between its prompt and its read."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_ENDS)
            return
        terminal.type(_CTRL_C)


@pytest.mark.parametrize(
    ("typed", "status", "left"),
    [("foo\n", 1, 2), ("\n", 1, 2), ("foo-bar\n", 0, 0), (_CTRL_C, 1, 2)],
    ids=["another name", "nothing", "the name", "Ctrl-C"],
)
def test_the_name_of_the_project_is_typed_on_a_terminal(
    lab: _Lab, typed: str, status: int, left: int
) -> None:
    lab.publish("1.0")
    terminal = Terminal(columns=400)
    words = [sys.executable, "-m", "pyoci_flask", "delete", lab.url, "foo-bar"]
    with terminal.session(lab.home.folder, *words) as process:
        question = terminal.wait_for("Type foo-bar to delete all of it: ")
        assert b"foo_bar-1.0.tar.gz" in terminal.shown[:question]
        terminal.type(typed)
        if status == 0:
            terminal.wait_for("deleted foo-bar with 1 version")
        elif typed != _CTRL_C:
            terminal.wait_for("nothing was deleted")
        else:
            _interrupt_again(terminal, process)
        assert process.wait(PATIENCE) == status
    assert len(lab.listed()) == left


def test_without_a_login_the_text_begins_with_what_to_do(lab: _Lab) -> None:
    lab.publish("1.0")
    lab.home.write(DOCKER, {})
    host = lab.url.split("/")[2]
    for words in (("yank", "foo-bar", "1.0"), ("delete", "foo-bar", "1.0"), ("delete", "foo-bar")):
        done = lab.run(*words)
        assert done.status == 1
        assert done.output.startswith(
            f"Error: Give credentials (--username NAME --password-stdin, or `docker login {host}`)"
        )
    assert len(lab.listed()) == 2


def test_the_source_of_a_refused_login_is_shown_but_not_its_password(lab: _Lab) -> None:
    host = lab.url.split("/")[2]
    lab.home.write(DOCKER, {"auths": {host: auth("mallory", "guessed-wrongly")}})
    done = lab.run("delete", "foo-bar", "1.0", "--verbose")
    assert done.status == 1
    assert f"this one is mallory, from ~/{DOCKER} (auths, {host})" in done.output
    assert "guessed-wrongly" not in done.output
    given = lab.run("delete", "foo-bar", "1.0", PYOCI_USERNAME="eve", PYOCI_PASSWORD="also-wrong")
    assert "Error: Use a login that may change packages in " in given.output
    assert "also-wrong" not in given.output


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("yank", "foo-bar", "1.0"), "Error: "),
        (("yank", "foo-bar", "not a version"), "is not a version (PEP 440)"),
        (("delete", "foo-bar", "other-1.0.tar.gz"), "is not the name of a file of foo-bar"),
        (("delete", "foo-bar"), "has no project foo-bar"),
        (("yank", "foo-bar", "1.0", "--reason", "a\x1b[31mb"), "one line of at most 1000"),
    ],
)
def test_what_does_not_exist_or_cannot_be_is_one_line(
    lab: _Lab, words: tuple[str, ...], text: str
) -> None:
    done = lab.run(*words)
    assert done.status == 1, done.output
    assert text in done.output
    assert len(done.lines) == 1
    assert done.output.startswith("Error: ")


def test_a_yank_is_not_taken_back_with_a_reason(lab: _Lab) -> None:
    done = lab.run("yank", "foo-bar", "1.0", "--undo", "--reason", "why")
    assert done.status == 2


def test_an_index_at_a_server_is_changed_by_requests_to_the_server(lab: _Lab) -> None:
    lab.publish("1.0", "2.0")
    place = f"{lab.index.base}/"
    host = place.split("/")[2]
    anonymous = command("yank", place, "foo-bar", "1.0", environ=lab.home.environ)
    assert anonymous.status == 1
    assert anonymous.output.startswith("Error: Give credentials (--username NAME --password-stdin")
    assert f"no login for {host} was found" in anonymous.output
    assert lab.index.auth is not None
    environ = {"PYOCI_USERNAME": lab.index.auth[0], "PYOCI_PASSWORD": lab.index.auth[1]}
    done = command("yank", place, "foo-bar", "1.0", "--reason", "bad", environ=environ)
    assert (done.status, done.output) == (0, "yanked foo-bar 1.0\n")
    assert lab.listed()["foo_bar-1.0.tar.gz"] == "bad"
    done = command("delete", place, "foo-bar", "2.0", "--blobs", environ=environ)
    assert (done.status, done.output) == (0, "deleted foo-bar 2.0; 3 of 3 blobs deleted\n")
    done = command("delete", place, "foo-bar", "--yes", environ=environ)
    assert done.status == 0, done.output
    assert f"foo-bar in {place} has 1 version and 2 files" in done.lines[0]
    assert lab.listed() == {}
    lab.home.write(DOCKER, {"auths": {host: auth("mallory", "guessed-wrongly")}})
    refused = command("delete", place, "foo-bar", "1.0", environ=lab.home.environ)
    assert refused.output.startswith(f"Error: Use a login that may change packages in {place}. ")
    assert "guessed-wrongly" not in refused.output


def test_a_site_that_is_no_server_of_this_program_is_one_line() -> None:
    for answer in (Response("[]"), Response('{"files": [1], "versions": []}'), Response("no", 500)):
        with wsgi_server(answering(answer)) as url:
            done = command("delete", f"{url}/simple/", "foo", "--yes")
        assert done.status == 1
        assert len(done.lines) == 1
        assert done.output.startswith("Error: ")
    with closed_port() as url:
        done = command("delete", f"{url}/simple/", "foo", "--yes")
    assert (done.status, len(done.lines)) == (1, 1)


def test_a_path_is_neither_a_version_nor_a_file(lab: _Lab) -> None:
    done = lab.run("delete", "foo-bar", "../other/1.0")
    assert done.status == 2
    assert "must be a version such as 1.0, or the name of a file" in done.output


def test_the_packages_of_a_registry_that_deletes_nothing_leave_the_index(
    tmp_path: Path, server: str, http: requests.Session
) -> None:
    with docker_registry(tmp_path, delete=False) as registry:
        index = IndexClient(f"{server}/{registry.address}/team", None, http)
        index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
        done = command("delete", f"{registry.url}/team", "foo", "--yes")
        assert done.status == 0, done.output
        assert "keeps the bytes until they are deleted there" in done.output
        again = command("delete", f"{registry.url}/team", "foo", "--yes")
        assert "nothing to delete" in again.output


def test_a_user_who_may_only_read_changes_nothing(
    tmp_path: Path, server: str, http: requests.Session
) -> None:
    with quirky_registry(tmp_path / "registry", PROFILES["zot"]) as registry:
        address = registry.url.replace(":", "%3A").replace("/", "%2F")
        index = IndexClient(f"{server}/{address}/team", OWNER, http)
        for version in ("1.0", "2.0"):
            index.published(make_wheel(tmp_path, "foo", version), "foo", version)
        reader = {"PYOCI_USERNAME": READER[0], "PYOCI_PASSWORD": READER[1]}
        done = command("delete", f"{registry.url}/team", "foo", "--yes", environ=reader)
        assert done.status == 1
        assert done.lines[3].startswith("Use a login that may change packages in ")
        assert done.lines[3].endswith("(foo 2.0 is not deleted)")
        assert done.lines[4].startswith("fix the cause, then run the same command again")
        assert done.lines[5] == "deleted 0 of 2 versions; left: 2.0, 1.0"
        owner = {"PYOCI_USERNAME": OWNER[0], "PYOCI_PASSWORD": OWNER[1]}
        yanked = command("yank", f"{registry.url}/team", "foo", "1.0", environ=reader)
        assert yanked.status == 1
        done = command("delete", f"{registry.url}/team", "foo", "--yes", environ=owner)
        assert done.status == 0, done.output


def test_the_embedded_registry_of_this_machine_is_changed_without_a_server(
    tmp_path: Path, app_server: AppServer, http: requests.Session
) -> None:
    storage = {"PYOCI_STORAGE": str(tmp_path / "packages")}
    url = app_server(storage)
    index = IndexClient(f"{url}/simple", None, http)
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    assert command("yank", "embedded/python", "foo", "1.0", environ=storage).status == 0
    assert command("delete", "embedded/python", "foo", "--yes", environ=storage).status == 0
    without = command("delete", "embedded/python", "foo", "1.0")
    assert without.status == 1
    assert without.output.startswith("Error: set PYOCI_STORAGE to the folder of the embedded")
    # The server's own registry is a registry like any other.
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    assert command("delete", f"{url}/python", "foo", "1.0").status == 0
