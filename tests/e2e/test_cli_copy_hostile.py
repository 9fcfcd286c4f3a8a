"""`pyoci-flask copy` from servers that lie and redirect elsewhere."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from werkzeug.datastructures import Authorization
from werkzeug.wrappers import Response

from tests.command_line import command
from tests.integration.index_client import IndexClient
from tests.package_sites import SIMPLE_JSON, Site, odd_site
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


def test_links_of_all_kinds_are_resolved_or_refused(
    site: Site, other: Site, target: IndexClient, tmp_path: Path
) -> None:
    wheels = {v: make_wheel(tmp_path, "foo", v).read_bytes() for v in ("1.0", "1.1", "1.2", "2.0")}
    sdist = make_sdist(tmp_path, "foo", "1.0").read_bytes()
    site.pages["/files/foo-1.0-py3-none-any.whl"] = wheels["1.0"]
    site.pages["/files/sub/foo-1.1-py3-none-any.whl"] = wheels["1.1"]
    other.pages["/far/foo-1.2-py3-none-any.whl"] = wheels["1.2"]
    other.pages["/far/foo-2.0-py3-none-any.whl"] = wheels["2.0"]
    site.pages["/files/foo-1.0.tar.gz"] = sdist
    site.pages["/simple/foo/"] = f"""<!DOCTYPE html>
        <base href="{site.url}/files/sub/"><a href="https://example.com/">a link of the frame</a>
        <a href="../foo-1.0-py3-none-any.whl#sha256={_sha256(wheels["1.0"])}">1</a>
        <A HREF='foo-1.1-py3-none-any.whl' data-yanked>2</A>
        <a href="{other.url}/far/foo-1.2-py3-none-any.whl#md5=no&amp;sha256=nonsense">3</a>
        <a href="{other.url}/far/foo-2.0-py3-none-any.whl#sha256={"0" * 64}">wrong hash</a>
        <a href="/files/foo-1.0.tar.gz#sha512={hashlib.sha512(sdist).hexdigest()}">5</a>
        <a href="file:///etc/foo-3.0.tar.gz">local</a>
        <a href="javascript:alert(1)//foo-3.1.tar.gz">script</a>
        <a href="http://user:pw@{other.url[7:]}/foo-3.2.tar.gz">somebody's password</a>
        <a href="http://[broken/foo-3.3.tar.gz">no address</a>
        <a href="bar-3.4.tar.gz">another project's</a>
        <a href="..%2f..%2ffoo-3.5.tar.gz">a path</a>
        <a href="foo-3.6.tar.gz">missing</a>
        <a href="foo-1.0-py3.11.egg">an egg</a>"""
    done = command("copy", f"{site.url}/simple/", f"{target.base}/", "foo")
    assert done.status == 1
    faults = [line for line in done.lines if line.startswith("failed: ")]
    assert len(faults) == 8, faults
    for part in ("foo-3.0.tar.gz has a link", "3.2.tar.gz has a link", "(sha256)", "(404)"):
        assert [line for line in faults if part in line], part
    assert "left out: 1 file (foo-1.0-py3.11.egg) that are neither" in done.output
    assert done.lines[-1].startswith("copied 4 files (")
    assert done.lines[-1].endswith("0 already present, 1 yanked, 8 failed")
    assert set(target.filenames("foo")) == {
        "foo-1.0-py3-none-any.whl",
        "foo-1.0.tar.gz",
        "foo-1.1-py3-none-any.whl",
        "foo-1.2-py3-none-any.whl",
    }
    page = target.get("/foo/", headers={"Accept": SIMPLE_JSON}).json()
    assert [f["filename"] for f in page["files"] if f["yanked"]] == ["foo-1.1-py3-none-any.whl"]


def test_credentials_go_to_the_index_and_nowhere_else(
    site: Site, other: Site, target: IndexClient, tmp_path: Path
) -> None:
    wheels = [make_wheel(tmp_path, "foo", version).read_bytes() for version in ("1.0", "1.1")]
    near, far = "foo-1.0-py3-none-any.whl", "foo-1.1-py3-none-any.whl"
    site.pages[f"/near/{near}"] = lambda _: Response(
        "", 302, {"Location": f"{other.url}/stored/{near}"}
    )
    other.pages[f"/stored/{near}"], other.pages[f"/far/{far}"] = wheels
    site.show(
        "foo",
        {"filename": near, "url": f"../../near/{near}", "hashes": {"sha256": _sha256(wheels[0])}},
        {"filename": far, "url": f"{other.url}/far/{far}", "hashes": {}, "size": len(wheels[1])},
    )
    source = site.url.replace("http://", "http://alice:s%3Acret@")
    done = command("copy", f"{source}/simple/", f"{target.base}/", "foo")
    assert done.status == 0, done.output
    assert {call.headers["Authorization"] for call in site.calls} == {"Basic YWxpY2U6czpjcmV0"}
    assert len(other.calls) == 2
    assert all("Authorization" not in call.headers for call in other.calls)
    assert "s:cret" not in done.output


@pytest.mark.parametrize("reading", ["", "alice:one@"])
def test_credentials_in_the_upload_url_are_sent_with_the_uploads(
    site: Site, other: Site, tmp_path: Path, reading: str
) -> None:
    name = "foo-1.0-py3-none-any.whl"
    content = make_wheel(tmp_path, "foo", "1.0").read_bytes()
    site.pages[f"/files/{name}"] = content
    site.show("foo", {"filename": name, "url": f"../../files/{name}", "hashes": {}})
    other.show("foo")
    other.pages["/upload/"] = lambda _: Response("taken")
    host = other.url.removeprefix("http://")
    options = ["--upload-url", f"http://bob:two@{host}/upload/"]
    done = command(
        "copy", f"{site.url}/simple/", f"http://{reading}{host}/simple/", "foo", *options
    )
    assert done.status == 0, done.output
    bob = Authorization("basic", {"username": "bob", "password": "two"})
    alice = Authorization("basic", {"username": "alice", "password": "one"})
    assert [call.authorization for call in other.asked("/upload/")] == [bob]
    read = {str(call.authorization) for call in other.asked("/simple/foo/")}
    assert read == {str(alice if reading else bob)}


def test_a_file_that_is_not_a_distribution_is_not_uploaded(
    site: Site, target: IndexClient, tmp_path: Path
) -> None:
    truncated = make_wheel(tmp_path, "foo", "1.0").read_bytes()[:-30]
    names = ["foo-1.0-py3-none-any.whl", "foo-1.1.tar.gz"]
    site.pages[f"/f/{names[0]}"], site.pages[f"/f/{names[1]}"] = truncated, b"<html>not found"
    site.show("foo", *({"filename": name, "url": f"/f/{name}", "hashes": {}} for name in names))
    done = command("copy", f"{site.url}/simple/", f"{target.base}/", "foo")
    assert done.status == 1
    assert "is not a zip archive" in done.output
    assert "foo-1.1.tar.gz is not a valid sdist" in done.output
    assert target.get("/foo/").status_code == 404


def test_a_download_with_a_wrong_size_is_stopped(
    site: Site, target: IndexClient, tmp_path: Path
) -> None:
    content = make_wheel(tmp_path, "foo", "1.0", size=5_000_000).read_bytes()
    name = "foo-1.0-py3-none-any.whl"
    site.pages[f"/f/{name}"] = content
    site.show("foo", {"filename": name, "url": f"/f/{name}", "hashes": {}, "size": 1000})
    done = command("copy", f"{site.url}/simple/", f"{target.base}/", "foo")
    assert done.status == 1
    assert "bytes, but the page specifies 1000" in done.output


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Response("{", content_type=SIMPLE_JSON), "is not JSON"),
        (Response("[]", content_type=SIMPLE_JSON), "is not a JSON object"),
        (Response('{"meta": {"api-version": "2.0"}}', content_type=SIMPLE_JSON), "another version"),
        (
            Response('{"meta": {"api-version": "1.0"}}', content_type=SIMPLE_JSON),
            "no list of files",
        ),
        (Response("hello", content_type="text/plain"), "is not a package index page"),
        (
            Response(
                '<meta name="pypi:repository-version" content="2.0">', content_type="text/html"
            ),
            "another version",
        ),
        (Response("", 302, {"Location": "gopher://x/"}), "redirects to an invalid URL"),
        (Response("", 302, {"Location": "."}), "redirects in circles"),
        (Response("", 418), "answered 418"),
    ],
)
def test_a_response_that_is_not_a_project_page_is_reported(
    site: Site, other: Site, page: Response, reason: str
) -> None:
    site.pages["/simple/foo/"] = lambda _: page
    done = command("copy", f"{site.url}/simple/", f"{other.url}/simple/", "foo")
    assert done.status == 1
    assert reason in done.output


def test_a_list_of_projects_in_either_form_is_followed(site: Site, other: Site) -> None:
    site.pages["/simple/"] = '<a href="/simple/foo/">Foo</a> <a href="#">  </a><a>Bar</a>'
    html = command("copy", "--dry-run", f"{site.url}/simple/", f"{other.url}/simple/")
    assert html.lines[0].startswith("failed: foo: ")
    projects = [{"name": "Foo"}, {"name": "../foo"}, {"name": 3}, "foo", {"name": "bar"}]
    document = {"meta": {"api-version": "1.0"}, "projects": projects}
    site.pages["/simple/"] = lambda _: Response(json.dumps(document), content_type=SIMPLE_JSON)
    in_json = command("copy", "--dry-run", f"{site.url}/simple/", f"{other.url}/simple/")
    assert [line.split(": ")[1] for line in in_json.lines[:-1]] == ["bar", "foo"]
    site.pages["/simple/"] = '<a href="foo-1.0.tar.gz">foo-1.0.tar.gz</a>'
    wrong = command("copy", "--dry-run", f"{site.url}/simple/", f"{other.url}/simple/")
    assert "is a project's page, not the list" in wrong.output


def test_a_page_does_not_lead_to_the_machines_own_infrastructure(site: Site, other: Site) -> None:
    url = "http://169.254.169.254/latest/foo-1.0.tar.gz"
    site.show("foo", {"filename": "foo-1.0.tar.gz", "url": url, "hashes": {}})
    done = command("copy", f"{site.url}/simple/", f"{other.url}/simple/", "foo")
    assert done.status == 1
    assert "refusing to connect to 169.254.169.254: " in done.output
