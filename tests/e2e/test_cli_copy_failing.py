"""`pyoci-flask copy` with servers that fail, break off and refuse."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Request, Response

from tests.command_line import command
from tests.doubles import closed_port
from tests.integration.index_client import IndexClient
from tests.package_sites import Answer, Site, odd_site
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry
from tests.servers import RunningServer


@pytest.fixture
def site() -> Iterator[Site]:
    with odd_site() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Site]:
    with odd_site() as running:
        yield running


@pytest.fixture
def target(
    app: RunningServer, docker_open: RunningRegistry, namespace: str, http: requests.Session
) -> IndexClient:
    """An index of PyOCI that accepts everything."""
    return IndexClient(f"{app.url}/{docker_open.address}/{namespace}", None, http)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _failing_once(then: Answer, failure: Response) -> Answer:
    answers = iter([failure])

    def answer(request: Request) -> Response:
        return next(answers, None) or then(request)

    return answer


def test_what_fails_for_a_moment_is_tried_again(site: Site, other: Site, tmp_path: Path) -> None:
    content = {v: make_wheel(tmp_path, "foo", v).read_bytes() for v in ("1.0", "1.1")}
    names = [f"foo-{version}-py3-none-any.whl" for version in content]
    short = Response(content["1.0"][:-10], headers={"Connection": "close"})
    short.headers["Content-Length"] = str(len(content["1.0"]))
    whole = Response(content["1.0"])
    site.pages[f"/f/{names[0]}"] = _failing_once(lambda _: whole, short)
    site.pages[f"/f/{names[1]}"] = content["1.1"]
    site.show("foo", *({"filename": name, "url": f"/f/{name}", "hashes": {}} for name in names))
    busy = Response("try later", 503, {"Retry-After": "1"}, content_type="text/plain")
    other.pages["/upload/"] = _failing_once(lambda _: Response("thanks"), busy)
    done = command("copy", f"{site.url}/simple/", f"{other.url}/upload/+simple/", "foo")
    assert done.status == 0, done.output
    assert done.lines[-1].startswith("copied 2 files (")
    posted = other.asked("/upload/")
    assert len(posted) == 3
    with contextlib.ExitStack() as closing:
        for call in posted:
            closing.callback(call.close)
            form, file = call.form, call.files["content"]
            sent = content[form["version"]]
            assert (call.method, form["name"], form["filetype"]) == ("POST", "foo", "bdist_wheel")
            assert form["sha256_digest"] == _sha256(sent)
            assert file.filename == f"foo-{form['version']}-py3-none-any.whl"
            assert file.read() == sent


def test_an_upload_whose_answer_was_lost_counts_as_done(
    site: Site, other: Site, tmp_path: Path
) -> None:
    """The target accepted it, failed before the response, and then says that it already exists."""
    content = make_wheel(tmp_path, "foo", "1.0").read_bytes()
    name = "foo-1.0-py3-none-any.whl"
    link = {"filename": name, "url": f"/f/{name}", "hashes": {}}
    site.pages[f"/f/{name}"] = other.pages[f"/f/{name}"] = content
    site.show("foo", link)

    def exists(_: Request) -> Response:
        other.show("foo", link)
        return Response("<html>400 File already exists", 400, content_type="text/html")

    other.pages["/simple/"] = _failing_once(exists, Response("", 502))
    done = command("copy", f"{site.url}/simple/", f"{other.url}/simple/", "foo")
    assert done.status == 0, done.output
    assert done.lines[-1] == "copied 0 files (0 bytes), 1 already present"


def test_a_target_that_claims_to_have_a_file_but_does_not_list_it_is_not_believed(
    site: Site, other: Site, tmp_path: Path
) -> None:
    name = "foo-1.0-py3-none-any.whl"
    site.pages[f"/f/{name}"] = make_wheel(tmp_path, "foo", "1.0").read_bytes()
    site.show("foo", {"filename": name, "url": f"/f/{name}", "hashes": {}})
    other.pages["/simple/"] = lambda _: Response("no", 409, content_type="text/plain")
    done = command("copy", f"{site.url}/simple/", f"{other.url}/simple/", "foo")
    assert done.status == 1
    assert "already has a file of that name: no" in done.output


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Response("Gone", 410, content_type="text/plain"), "answered 410: Gone"),
        (
            Response('{"detail": "full \\u001b[2J"}', 507, mimetype="application/problem+json"),
            ": full",
        ),
        (Response("", 301, {"Location": "/legacy/"}), "specify the URL it redirects to, /legacy/"),
    ],
)
def test_the_reason_of_a_refused_upload_is_shown(
    site: Site, other: Site, tmp_path: Path, answer: Response, reason: str
) -> None:
    name = "foo-1.0.tar.gz"
    site.pages[f"/f/{name}"] = make_sdist(tmp_path, "foo", "1.0").read_bytes()
    site.show("foo", {"filename": name, "url": f"/f/{name}", "hashes": {}})
    other.pages["/simple/"] = lambda _: answer
    done = command("copy", f"{site.url}/simple/", f"{other.url}/simple/", "foo")
    assert done.status == 1
    assert reason in done.output
    assert "\x1b" not in done.output


def test_an_index_that_is_not_there_ends_the_copy_before_it_begins(other: Site) -> None:
    with closed_port() as url:
        done = command("copy", f"{url}/simple/", f"{other.url}/simple/", "foo")
    assert done.status == 1
    assert done.lines == [
        f"nothing was copied: no connection to {url[7:]}: it is down, or the port is wrong"
    ]


def test_a_target_without_hashes_is_compared_by_its_bytes(
    site: Site, other: Site, tmp_path: Path
) -> None:
    names = [f"foo-{version}-py3-none-any.whl" for version in ("1.0", "1.1", "1.2")]
    content = [make_wheel(tmp_path, "foo", v).read_bytes() for v in ("1.0", "1.1", "1.2")]
    for name, wheel in zip(names, content, strict=True):
        site.pages[f"/f/{name}"] = other.pages[f"/f/{name}"] = wheel
    other.pages[f"/f/{names[1]}"] = b"other bytes"
    links = [{"filename": name, "url": f"/f/{name}", "hashes": {}} for name in names]
    md5 = hashlib.md5(content[2], usedforsecurity=False).hexdigest()
    site.show("foo", *({**link, "hashes": {"sha1": "0"}} for link in links))
    other.show("foo", links[0], links[1], {**links[2], "hashes": {"md5": md5}})
    done = command("copy", f"{site.url}/simple/", f"{other.url}/simple/", "foo")
    assert done.status == 1
    [fault] = [line for line in done.lines if line.startswith("failed: ")]
    assert fault.startswith(f"failed: {names[1]}: ")
    assert fault.endswith("with other bytes; it is left as it is")
    assert done.lines[-1] == "copied 0 files (0 bytes), 2 already present, 1 failed"
    # For the third, the hash on the target's page was enough.
    assert not other.asked(f"/f/{names[2]}")


def test_a_refused_yank_is_reported_and_the_file_is_copied(
    site: Site, other: Site, tmp_path: Path
) -> None:
    name = "foo-1.0.tar.gz"
    site.pages[f"/f/{name}"] = make_sdist(tmp_path, "foo", "1.0").read_bytes()
    site.show("foo", {"filename": name, "url": f"/f/{name}", "hashes": {}, "yanked": "why"})
    other.pages["/simple/"] = lambda _: Response("thanks")
    other.pages[f"/simple/foo/{name}"] = lambda _: Response("", 403)
    arguments = ["copy", f"{site.url}/simple/", f"{other.url}/simple/", "foo"]
    password = {"PYOCI_TARGET_USERNAME": "alice", "PYOCI_TARGET_PASSWORD": "pw"}
    done = command(*arguments, environ=password)
    assert done.status == 1
    assert "the target has the file, but could not yank it: " in done.output
    [patch] = other.asked(f"/simple/foo/{name}")
    assert (patch.method, patch.get_data()) == ("PATCH", b'{"yanked": "why"}')
    assert done.lines[-1].startswith("copied 1 file (")


def test_one_project_that_is_denied_does_not_keep_the_others_back(site: Site, other: Site) -> None:
    site.pages["/simple/bar/"] = lambda _: Response("", 403)
    site.show("foo", {"filename": "foo-1.0.tar.gz", "url": "x", "hashes": {}})
    source = site.url.replace("http://", "http://alice:pw@")
    arguments = ["copy", "--dry-run", f"{source}/simple/", f"{other.url}/simple/"]
    done = command(*arguments, "bar", "foo")
    assert done.status == 1
    assert done.lines == [
        "would copy foo-1.0.tar.gz",
        f"failed: bar: {site.url[7:]} answered 403",
        "would copy 1 file, 0 already present, 1 failed",
    ]


@pytest.mark.parametrize("broken", ["aaa", "zzz"])
def test_a_project_whose_page_stays_broken_does_not_keep_the_others_back(
    site: Site, other: Site, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whether it is the first project that is looked at, or another."""
    monkeypatch.setattr("pyoci_flask.cli.copy.transfer._PAUSES", (0.0, 0.0, 0.0))
    site.pages[f"/simple/{broken}/"] = lambda _: Response("no", 502, content_type="text/plain")
    site.show("foo", {"filename": "foo-1.0.tar.gz", "url": "x", "hashes": {}})
    site.pages["/simple/"] = "".join(f'<a href="{n}/">{n}</a>' for n in sorted([broken, "foo"]))
    done = command("copy", "--dry-run", f"{site.url}/simple/", f"{other.url}/simple/")
    assert done.status == 1
    assert done.lines == [
        "would copy foo-1.0.tar.gz",
        f"failed: {broken}: {site.url[7:]} answered 502: no",
        "would copy 1 file, 0 already present, 1 failed",
    ]


def test_an_index_that_answers_for_no_project_is_not_asked_for_all_of_them(
    site: Site, other: Site
) -> None:
    names = [f"p{number}" for number in range(20)]
    for name in names:
        site.pages[f"/simple/{name}/"] = lambda _: Response("", 503)
    done = command("copy", f"{site.url}/simple/", f"{other.url}/simple/", *names)
    assert (done.status, done.lines) == (1, [f"nothing was copied: {site.url[7:]} answered 503"])
    assert {call.path for call in site.calls} == {f"/simple/{name}/" for name in names[:3]}


def test_a_connection_that_is_not_secure_ends_the_copy_before_it_begins(other: Site) -> None:
    source = other.url.replace("http://", "https://")
    done = command("copy", f"{source}/simple/", f"{other.url}/simple/", "foo", "bar")
    assert done.status == 1
    reason = f"no secure connection to {other.url[7:]}: WRONG_VERSION_NUMBER"
    assert done.lines == [f"nothing was copied: {reason}"]
