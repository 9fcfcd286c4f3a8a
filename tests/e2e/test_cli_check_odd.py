"""`pyoci-flask check` with peculiar registries, and without a registry."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Response

from pyoci_flask.registry import create_registry
from tests.command_line import check
from tests.doubles import (
    WriteOnce,
    answering,
    wsgi_server,
)
from tests.quirks.profiles import PROFILES
from tests.quirks.registry import quirky_registry
from tests.quirks.tokens import OWNER, READER, STRANGER
from tests.registries import zuul_registry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_WRITE = ("publish", "list", "download", "yank", "remove", "left")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_registry_that_takes_packages_passes_the_whole_check(
    profile: str, tmp_path: Path
) -> None:
    with quirky_registry(tmp_path / "registry", PROFILES[profile]) as registry:
        registry.made.add("team/pyoci_probe")
        done = check(registry.url, "--write", auth=OWNER)
    marks = done.marks()
    if profile == "gitlab":
        assert done.status == 1
        assert "FAIL publish" in done.output
        assert "use another registry to store the packages" in done.output
    else:
        assert done.status == 0, done.output
        assert {marks[step] for step in _WRITE[:-1]} == {"ok"}


@pytest.mark.parametrize("profile", ["ghcr", "ecr_private", "zot"])
def test_check_says_which_rights_a_read_only_user_lacks(profile: str, tmp_path: Path) -> None:
    with quirky_registry(tmp_path / "registry", PROFILES[profile]) as registry:
        done = check(registry.url, "--write", auth=READER)
    assert done.status == 1
    marks = done.marks()
    assert (marks["pull"], marks["push"], marks["delete"]) == ("ok", "FAIL", "FAIL")
    assert "give these credentials the right to push" in done.output
    assert "note format     not tried, because nothing can be pushed" in done.output


@pytest.mark.parametrize("profile", ["ghcr", "ecr_private", "zot"])
def test_a_read_only_user_passes_if_nothing_is_to_be_published(
    profile: str, tmp_path: Path
) -> None:
    with quirky_registry(tmp_path / "registry", PROFILES[profile]) as registry:
        registry.made.add("team/pyoci_probe")
        done = check(registry.url, auth=READER)
        stranger = check(registry.url, auth=STRANGER)
    assert done.status == 0, done.output
    marks = done.marks()
    assert (marks["pull"], marks["push"], marks["delete"]) == ("ok", "note", "note")
    assert "note rights     may read: yes, may publish: -, may delete: -" in done.output
    assert stranger.status == 1


def test_anyone_may_check_what_is_public(tmp_path: Path) -> None:
    with zuul_registry(tmp_path, anonymous_read=True) as registry:
        done = check(registry.url)
    assert done.status == 0, done.output
    assert "to publish, give credentials: --username NAME --password-stdin" in done.lines
    assert "may read: yes, may publish: -" in done.output


def test_a_registry_for_reading_only_passes(tmp_path: Path) -> None:
    registry = create_registry(tmp_path, None)

    def mirror(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        reads = environ["REQUEST_METHOD"] in {"GET", "HEAD"}
        refused = Response(_error("UNSUPPORTED"), 405)
        return (registry if reads else refused)(environ, start)

    with wsgi_server(mirror) as url:
        done = check(url)
        writing = check(url, "--write")
    assert done.status == 0, done.output
    assert done.marks()["push"] == "note"
    assert "may read: yes, may publish: -, may delete: -, may list projects: yes" in done.output
    assert writing.status == 1


def test_a_token_that_may_write_but_not_delete_passes_unless_a_probe_is_to_be_removed(
    tmp_path: Path,
) -> None:
    registry = create_registry(tmp_path, None)

    def keeping(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        deletes = environ["REQUEST_METHOD"] == "DELETE" and "/manifests/" in environ["PATH_INFO"]
        return (Response(_error("DENIED"), 403) if deletes else registry)(environ, start)

    with wsgi_server(keeping) as url:
        done = check(url, auth=("ci", "token"))
        writing = check(url, "--write", auth=("ci", "token"))
    assert done.status == 0, done.output
    assert "may read: yes, may publish: yes, may delete: -" in done.output
    assert writing.status == 1
    assert (writing.marks()["publish"], writing.marks()["delete"]) == ("ok", "FAIL")


def test_a_registry_that_denies_missing_projects_is_asked_about_an_existing_one(
    tmp_path: Path,
) -> None:
    with quirky_registry(tmp_path / "registry", PROFILES["quay"]) as registry:
        check(registry.url, "--write", auth=OWNER)
        missing = check(registry.url, "--project", "other", auth=READER)
        there = check(registry.url, "--project", "pyoci-probe", auth=READER)
    assert "specify an existing project with --project NAME" in missing.output
    assert "ok   pull       team/pyoci_probe has 0 tags" in there.output


def test_a_repository_that_must_be_made_first_is_asked_for(tmp_path: Path) -> None:
    with quirky_registry(tmp_path / "registry", PROFILES["ecr_private"]) as registry:
        registry.made.add("team/foo")
        missing = check(registry.url, auth=OWNER)
        named = check(registry.url, "--project", "foo", auth=OWNER)
        nowhere = check(registry.url, "--project", "bar", auth=OWNER)
        refused = check(registry.url, "--project", "foo", "--write", auth=OWNER)
        registry.made.add("team/pyoci_probe")
        written = check(registry.url, "--write", auth=OWNER)
    assert refused.marks()["publish"] == "FAIL"
    assert "make the repository team/pyoci_probe first" in refused.output
    assert written.marks()["publish"] == "ok"
    assert missing.status == 1
    assert "make the repository of each project there first" in missing.output
    assert named.marks()["push"] == "ok"
    assert "FAIL pull       check the name given with --project" in nowhere.lines
    assert "team/bar does not exist" in nowhere.lines


def test_a_registry_with_immutable_tags_cannot_yank_and_the_remains_are_named(
    tmp_path: Path,
) -> None:
    with wsgi_server(WriteOnce(create_registry(tmp_path, None))) as url:
        done = check(url, "--write")
    assert done.status == 1
    marks = done.marks()
    assert (marks["publish"], marks["download"]) == ("ok", "ok")
    assert (marks["yank"], marks["remove"], marks["left"]) == ("FAIL", "FAIL", "note")
    assert "note left       team/pyoci_probe:0." in done.output


def _error(code: str) -> str:
    return json.dumps({"errors": [{"code": code, "message": "no"}]})


@pytest.mark.parametrize(
    ("response", "pull"),
    [
        (Response("404 page not found", 404), "FAIL"),
        (Response("", 405), "FAIL"),
        (Response(_error("UNSUPPORTED"), 404), "FAIL"),
        (Response(_error("UNSUPPORTED"), 501), "FAIL"),
        # This one answers as if the repository did not exist, which was true before.
        (Response(_error("NAME_UNKNOWN"), 404), "ok"),
    ],
)
def test_registry_without_a_list_of_tags_does_not_pass(
    response: Response, pull: str, tmp_path: Path
) -> None:
    registry = create_registry(tmp_path, None)

    def without_tags(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        listed = environ["PATH_INFO"].endswith("/tags/list")
        return (response if listed else registry)(environ, start)

    with wsgi_server(without_tags) as url:
        done = check(url, "--write")
    assert done.status == 1
    marks = done.marks()
    assert (marks["pull"], marks["publish"], marks["list"]) == (pull, "ok", "FAIL")
    if pull == "ok":
        assert "the registry accepted the package, but does not list" in done.output


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response("no", 404), "/v2/ returns 404"),
        (Response("<html>", 200, mimetype="text/html"), "/v2/ returns 200 with a web page"),
        (Response("", 302, {"Location": "/login"}), "/v2/ returns 302"),
    ],
)
def test_a_server_that_is_not_a_registry_is_reported(response: Response, reason: str) -> None:
    with wsgi_server(answering(response)) as url:
        done = check(url)
    assert done.status == 1
    assert done.lines[-2:] == [
        "FAIL API        check the host and the port, because this is not a registry",
        f"{url}{reason}",
    ]


def test_a_registry_that_quotes_the_password_does_not_get_it_shown() -> None:
    quoting = json.dumps({"errors": [{"code": "DENIED", "message": "not s3cret-word \x1b[2J"}]})
    headers = {"WWW-Authenticate": 'Basic realm="s3cret-word"'}
    with wsgi_server(answering(Response(quoting, 401, headers))) as url:
        done = check(url, auth=("alice", "s3cret-word"))
    assert "DENIED not [redacted]" in done.output
    assert "s3cret-word" not in done.output
    assert "\x1b" not in done.output
