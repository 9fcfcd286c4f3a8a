"""Yank and un-yank (PEP 592): `PATCH` of a file or a version."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import CHANGED, OCIClient, push_original
from tests.integration.registry_doubles import ALICE, BOB, Members, WritersOnly
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
YANKED = "com.pyoci.yanked"
WHEEL = "my_pkg-1.0-py3-none-any.whl"
SDIST = "my_pkg-1.0.tar.gz"


@pytest.fixture
def project(index: IndexClient, tmp_path: Path) -> IndexClient:
    """A version of two files, and a version of one."""
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    index.published(make_wheel(tmp_path, "my_pkg", "2.0"), "my-pkg", "2.0")
    return index


def _patch(index: IndexClient, what: str, yanked: object, **options: object) -> requests.Response:
    return index.request("PATCH", f"/my-pkg/{what}", json={"yanked": yanked}, **options)


def _yanks(index: IndexClient) -> dict[str, bool | str]:
    """Return the yank of each file as the JSON page says; the HTML page has to say the same."""
    files = index.get("/my-pkg/", headers={"Accept": JSON}).json()["files"]
    found = {file["filename"]: file["yanked"] for file in files}
    in_html = {
        link.text: (link.attributes["data-yanked"] or True)
        for link in index.page("my-pkg")
        if "data-yanked" in link.attributes
    }
    assert in_html == {name: yanked for name, yanked in found.items() if yanked is not False}
    return found


def test_a_file_is_yanked_with_its_reason_and_taken_back(project: IndexClient) -> None:
    response = _patch(project, WHEEL, "breaks on start")

    assert response.status_code == 200, response.text
    assert WHEEL in response.text
    assert _yanks(project)[WHEEL] == "breaks on start"
    assert _yanks(project)[SDIST] is False

    assert _patch(project, WHEEL, False).status_code == 200
    assert set(_yanks(project).values()) == {False}


def test_a_version_is_yanked_with_all_its_files_and_taken_back(project: IndexClient) -> None:
    assert _patch(project, "1.0", True).status_code == 200
    assert _yanks(project) == {
        "my_pkg-2.0-py3-none-any.whl": False,
        WHEEL: True,
        SDIST: True,
    }

    assert _patch(project, "1.0", False).status_code == 200
    assert set(_yanks(project).values()) == {False}


def test_a_reason_takes_the_place_of_the_one_before(project: IndexClient) -> None:
    for yanked in ("first", "second", True, ""):
        assert _patch(project, WHEEL, yanked).status_code == 200
        assert _yanks(project)[WHEEL] == (yanked or True)


def test_what_is_yanked_can_still_be_downloaded(project: IndexClient, tmp_path: Path) -> None:
    _patch(project, "1.0", "bad")

    assert project.get(f"/my-pkg/{WHEEL}").content == (tmp_path / WHEEL).read_bytes()
    assert project.get(f"/my-pkg/{WHEEL}.metadata").status_code == 200


@pytest.mark.parametrize("reason", ['"><script>alert(1)</script>', "a & b < c", "Grüße 日本 'q'"])
def test_any_reason_is_escaped_in_html_and_exact_in_json(project: IndexClient, reason: str) -> None:
    assert _patch(project, WHEEL, reason).status_code == 200

    assert _yanks(project)[WHEEL] == reason
    assert "<script" not in project.get("/my-pkg/", headers={"Accept": "text/html"}).text


def test_a_yank_is_one_annotation_and_changes_nothing_else_but_the_time_of_the_change(
    project: IndexClient, repository: Callable[[str], OCIClient]
) -> None:
    oci = repository("my_pkg")
    before = oci.document("1.0")

    _patch(project, WHEEL, "bad")
    after = oci.document("1.0")

    for entry, was in zip(after["manifests"], before["manifests"], strict=True):
        annotations = dict(was["annotations"])
        if entry["platform"]["architecture"] == "py3-none-any.whl":
            annotations[YANKED] = "bad"
        assert entry == was | {"annotations": annotations}
    was, yanked = before["annotations"].pop(CHANGED), after["annotations"].pop(CHANGED)
    assert after | {"manifests": 0} == before | {"manifests": 0}

    _patch(project, WHEEL, False)
    restored = oci.document("1.0")
    assert was < yanked < restored["annotations"].pop(CHANGED)
    assert restored == before


def test_the_originals_package_is_yanked_by_an_annotation_that_it_does_not_read(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    oci = repository("my_pkg")
    content = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
    (entry,) = push_original(oci, "1.0", {"py3-none-any.whl": content}).values()

    assert _patch(index, WHEEL, "bad").status_code == 200

    (now,) = oci.document("1.0")["manifests"]
    assert now == entry | {"annotations": entry["annotations"] | {YANKED: "bad"}}
    assert oci.manifest(entry["digest"]).status_code == 200
    assert _yanks(index) == {WHEEL: "bad"}


def test_a_yank_survives_a_later_upload_to_its_version(
    project: IndexClient, tmp_path: Path
) -> None:
    _patch(project, "1.0", "bad")

    more = make_wheel(tmp_path, "my_pkg", "1.0", tag="cp311-cp311-linux_x86_64")
    project.published(more, "my-pkg", "1.0")

    yanks = _yanks(project)
    assert (yanks[WHEEL], yanks[SDIST], yanks[more.name]) == ("bad", "bad", "bad")


def test_a_yank_that_was_taken_back_leaves_a_later_upload_alone(
    project: IndexClient, tmp_path: Path
) -> None:
    _patch(project, "1.0", "bad")
    _patch(project, "1.0", False)

    more = make_wheel(tmp_path, "my_pkg", "1.0", tag="cp311-cp311-linux_x86_64")
    project.published(more, "my-pkg", "1.0")

    assert set(_yanks(project).values()) == {False}


def test_a_yank_survives_the_deletion_of_another_file(project: IndexClient) -> None:
    _patch(project, "1.0", "bad")

    assert project.request("DELETE", f"/my-pkg/{SDIST}").ok

    assert _yanks(project)[WHEEL] == "bad"


def test_yanking_twice_writes_once(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    calls = Recorder(create_registry(tmp_path / "registry"))
    with wsgi_server(calls) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", None, http)
        index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
        assert _patch(index, WHEEL, "bad").ok
        calls.calls.clear()

        assert _patch(index, WHEEL, "bad").status_code == 200
        assert calls.writes == []


BAD_BODIES = {
    "no JSON": b"yanked",
    "an array": b"[true]",
    "null": b'{"yanked": null}',
    "a number": b'{"yanked": 1}',
    "a list": b'{"yanked": ["why"]}',
    "nothing asked": b"{}",
    "more than asked": b'{"yanked": true, "name": "x"}',
    "not UTF-8": b'{"yanked": "\xff"}',
    "half a surrogate pair": rb'{"yanked": "\ud800"}',
    "two lines": b'{"yanked": "one\\ntwo"}',
    "a control character": b'{"yanked": "\\u0000"}',
    "too long a reason": b'{"yanked": "' + b"x" * 1001 + b'"}',
    "deeply nested": b"[" * 60_000,
    "a huge number": b'{"yanked": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_makes_no_sense_is_refused_and_changes_nothing(
    shared_app: str,
    docker_open: RunningRegistry,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
    body: bytes,
) -> None:
    index = IndexClient(f"{shared_app}/{docker_open.address}/{namespace}", None, http)
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    before = OCIClient(docker_open, f"{namespace}/my_pkg", http).document("1.0")

    response = index.request("PATCH", f"/my-pkg/{WHEEL}", data=body)

    assert response.status_code == 400, response.text
    assert OCIClient(docker_open, f"{namespace}/my_pkg", http).document("1.0") == before


def test_a_body_over_the_limit_is_refused_without_blaming_the_limit_of_uploads(
    project: IndexClient,
) -> None:
    response = project.request("PATCH", f"/my-pkg/{WHEEL}", data=b" " * 100_000)

    assert response.status_code == 413
    assert "PYOCI_MAX_BODY" not in response.text


def test_a_yank_without_a_body_is_refused(project: IndexClient) -> None:
    assert project.request("PATCH", f"/my-pkg/{WHEEL}").status_code == 400
    assert set(_yanks(project).values()) == {False}


@pytest.mark.parametrize("what", ["9.9", "my_pkg-9.9-py3-none-any.whl", "my_pkg-2.0.tar.gz"])
def test_what_is_not_there_cannot_be_yanked(project: IndexClient, what: str) -> None:
    assert _patch(project, what, True).status_code == 404


@pytest.mark.parametrize("what", ["not-a-version", "..", "other-1.0-py3-none-any.whl"])
def test_what_cannot_be_a_file_or_version_cannot_be_yanked(project: IndexClient, what: str) -> None:
    assert _patch(project, what, True).status_code in {400, 404, 405}
    assert set(_yanks(project).values()) == {False}


def test_a_whole_project_cannot_be_yanked(project: IndexClient) -> None:
    response = project.request("PATCH", "/my-pkg/", json={"yanked": True})

    assert response.status_code == 405
    assert set(_yanks(project).values()) == {False}


@pytest.mark.parametrize("kind", ["docker_htpasswd", "zuul", "embedded_socket"])
def test_who_gives_no_right_credentials_changes_nothing(
    shared_app: str,
    request: pytest.FixtureRequest,
    kind: str,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    registry: RunningRegistry = request.getfixturevalue(kind)
    index = IndexClient(f"{shared_app}/{registry.address}/{namespace}", registry.auth, http)
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    for auth in (None, ("somebody", "else")):
        for what in (WHEEL, "1.0"):
            response = _patch(index, what, "bad", auth=auth)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert _yanks(index) == {WHEEL: False}


def test_who_may_read_but_not_push_changes_nothing(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    with wsgi_server(WritersOnly(create_registry(tmp_path / "registry"))) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", ALICE, http)
        index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

        assert _patch(index, WHEEL, "bad", auth=BOB).status_code == 403
        assert _patch(index, WHEEL, "bad", auth=None).status_code == 401
        assert _yanks(index) == {WHEEL: False}
        assert _patch(index, WHEEL, "bad").status_code == 200


def test_a_denied_yank_is_a_denial(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    with wsgi_server(Members(create_registry(tmp_path / "registry"))) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", ALICE, http)
        index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

        assert _patch(index, WHEEL, "bad", auth=BOB).status_code == 403
        assert _yanks(index) == {WHEEL: False}


def test_a_page_of_another_site_cannot_yank(project: IndexClient) -> None:
    response = _patch(project, WHEEL, True, headers={"Origin": "https://evil.example"})

    assert response.status_code == 403
    assert set(_yanks(project).values()) == {False}


def test_parallel_yanks_and_uploads_lose_nothing(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    tags = [f"cp3{minor}-cp3{minor}-linux_x86_64" for minor in range(8, 13)]
    wheels = [make_wheel(tmp_path, "my_pkg", "1.0", tag=tag) for tag in tags]

    with ThreadPoolExecutor(len(wheels) + 1) as pool:
        uploads = [pool.submit(index.publish, wheel, "my-pkg", "1.0") for wheel in wheels]
        yank = pool.submit(_patch, index, WHEEL, "bad")

    assert [upload.result().status_code for upload in uploads] == [200] * len(wheels)
    assert yank.result().status_code == 200
    assert _yanks(index) == {WHEEL: "bad"} | {wheel.name: False for wheel in wheels}
