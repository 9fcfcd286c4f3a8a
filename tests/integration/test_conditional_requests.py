"""Strong ETags of pages, and 304 for clients that have them (RFC 9110, section 13)."""

from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import ALICE, BOB, Members
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PAGES = [("/my-pkg/", JSON), ("/my-pkg/", HTML), ("/my-pkg/", "text/html"), ("/my-pkg/json", "*/*")]
IDS = ["json", "v1-html", "html", "legacy"]
WHEEL = "my_pkg-1.0-py3-none-any.whl"


@pytest.fixture
def project(index: IndexClient, tmp_path: Path) -> IndexClient:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    return index


def _ask(index: IndexClient, page: tuple[str, str], etag: str | None = None) -> requests.Response:
    headers = {"Accept": page[1]} | ({} if etag is None else {"If-None-Match": etag})
    return index.get(page[0], headers=headers)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_etag_of_a_page_changes_exactly_when_its_content_does(
    project: IndexClient, tmp_path: Path, page: tuple[str, str]
) -> None:
    first = _ask(project, page)
    again = _ask(project, page)
    assert first.headers["ETag"] == again.headers["ETag"]
    assert first.headers["ETag"].startswith('"')

    seen = {first.headers["ETag"]: first.content}
    project.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    for method, body in ((None, None), ("PATCH", {"yanked": "bad"}), ("DELETE", None)):
        if method is not None:
            assert project.request(method, f"/my-pkg/{WHEEL}", json=body).ok
        response = _ask(project, page)
        assert response.headers["ETag"] not in seen
        assert response.content not in seen.values()
        seen[response.headers["ETag"]] = response.content


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_client_that_has_the_page_gets_304(project: IndexClient, page: tuple[str, str]) -> None:
    whole = _ask(project, page)
    etag = whole.headers["ETag"]

    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        response = _ask(project, page, known)
        assert (response.status_code, response.content) == (304, b""), known
        for name in ("ETag", "Cache-Control", "Vary"):
            assert response.headers[name] == whole.headers[name]
    assert _ask(project, page, '"other"').status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_page_with_another_etag_than_if_match_names_is_refused(
    project: IndexClient, page: tuple[str, str], method: str
) -> None:
    path, accept = page
    etag = _ask(project, page).headers["ETag"]

    def status(**headers: str) -> int:
        sent = {"Accept": accept} | {name.replace("_", "-"): one for name, one in headers.items()}
        return project.request(method, path, headers=sent).status_code

    for wanted in (etag, f'"other", {etag}', "*"):
        assert status(If_Match=wanted) == 200, wanted
    for wanted in ('"other"', f"W/{etag}"):
        assert status(If_Match=wanted) == 412, wanted
    assert status(If_Match=etag, If_None_Match=etag) == 304
    assert status(If_Match='"other"', If_None_Match=etag) == 412
    # A page has no time, so conditions about times are ignored (RFC 9110, 13.1.3 and 13.1.4).
    assert status(If_Unmodified_Since="Thu, 01 Jan 1970 00:00:00 GMT") == 200
    assert status(If_Modified_Since="Thu, 01 Jan 2099 00:00:00 GMT") == 200


def test_head_of_a_page_answers_as_get_does(project: IndexClient) -> None:
    whole = project.get("/my-pkg/", headers={"Accept": JSON})
    head = project.request("HEAD", "/my-pkg/", headers={"Accept": JSON})
    known = {"Accept": JSON, "If-None-Match": whole.headers["ETag"]}

    assert head.status_code == 200
    assert head.content == b""
    for name in ("ETag", "Content-Type", "Content-Length", "Vary", "Cache-Control"):
        assert head.headers[name] == whole.headers[name]
    assert project.request("HEAD", "/my-pkg/", headers=known).status_code == 304


def test_the_forms_of_a_page_have_etags_of_their_own(project: IndexClient) -> None:
    """A strong validator is unique across all representations (RFC 9110, section 8.8.1)."""
    etags = {_ask(project, page).headers["ETag"] for page in PAGES[:3]}

    assert len(etags) == 3


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_right_etag_does_not_let_anybody_in(
    project: IndexClient, registry: RunningRegistry, page: tuple[str, str]
) -> None:
    etag = _ask(project, page).headers["ETag"]
    headers = {"Accept": page[1], "If-None-Match": etag}

    for auth in (None, ("somebody", "else")):
        response = project.get(page[0], auth=auth, headers=headers)
        assert response.status_code == (304 if registry.auth is None else 401)


@pytest.mark.parametrize("path", ["/my-pkg/", "/my-pkg/json", f"/my-pkg/{WHEEL}"])
def test_who_is_denied_gets_the_denial_whatever_etag_they_know(
    app_server: AppServer, http: requests.Session, tmp_path: Path, path: str
) -> None:
    with wsgi_server(Members(create_registry(tmp_path / "registry"))) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", ALICE, http)
        index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
        known = {"If-None-Match": index.get(path).headers["ETag"]}

        assert index.get(path, headers=known).status_code == 304
        for headers in (known, {"If-None-Match": "*"}):
            assert index.get(path, auth=BOB, headers=headers).status_code == 403
            assert index.get(path, auth=None, headers=headers).status_code == 401


def test_a_file_that_was_deleted_and_published_again_is_not_taken_for_the_old_one(
    project: IndexClient, tmp_path: Path
) -> None:
    old = project.get(f"/my-pkg/{WHEEL}")
    assert project.request("DELETE", f"/my-pkg/{WHEEL}").ok
    (tmp_path / "new").mkdir()
    new = make_wheel(tmp_path / "new", "my_pkg", "1.0", summary="built again")
    project.published(new, "my-pkg", "1.0")

    response = project.get(f"/my-pkg/{WHEEL}", headers={"If-None-Match": old.headers["ETag"]})

    assert response.status_code == 200
    assert response.content == new.read_bytes() != old.content
    assert response.headers["Cache-Control"] == "private, no-cache"
