"""The legacy JSON of a project, as Renovate reads it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import AppServer
from tests.described import make_described_wheel
from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient, push_original, sha256
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry


@pytest.fixture
def simple(
    shared_app: str, docker_open: RunningRegistry, namespace: str, http: requests.Session
) -> IndexClient:
    """The index for one registry: the document does not depend on which."""
    return IndexClient(f"{shared_app}/{docker_open.address}/{namespace}", None, http)


@pytest.fixture
def oci(docker_open: RunningRegistry, namespace: str, http: requests.Session) -> OCIClient:
    return OCIClient(docker_open, f"{namespace}/my_pkg", http)


def _document(index: IndexClient, project: str = "my-pkg") -> dict[str, Any]:
    response = index.get(f"/{project}/json")
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    document: dict[str, Any] = response.json()
    return document


def _nulls(value: object) -> bool:
    if isinstance(value, dict):
        return any(_nulls(inner) for inner in value.values())
    return value is None or (isinstance(value, list) and any(_nulls(inner) for inner in value))


def test_info_describes_the_newest_version(index: IndexClient, tmp_path: Path) -> None:
    old = make_wheel(tmp_path, "My.Pkg", "1.9", summary="old")
    new = make_wheel(tmp_path, "My.Pkg", "1.10", summary="A summary", requires_python=">=3.9")
    urls = [
        ("project_urls", "Home-Page, https://example.org/"),
        ("project_urls", "Docs, https://d/"),
    ]
    index.published(old, "My.Pkg", "1.9")
    index.published(new, "My.Pkg", "1.10", *urls)

    assert _document(index)["info"] == {
        "name": "my-pkg",
        "version": "1.10",
        "summary": "A summary",
        "home_page": "https://example.org/",
        "project_urls": {"Home-Page": "https://example.org/", "Docs": "https://d/"},
        "requires_python": ">=3.9",
    }


def test_a_file_has_every_member(index: IndexClient, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", requires_python=">=3.8")
    index.published(wheel, "my-pkg", "1.0")
    sdist = index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    document = _document(index)
    first, second = document["releases"]["1.0"]

    assert document["urls"] == document["releases"]["1.0"]
    assert first == {
        "filename": wheel.name,
        "packagetype": "bdist_wheel",
        "url": first["url"],
        "digests": {"sha256": sha256(wheel.read_bytes())},
        "size": wheel.stat().st_size,
        "upload_time": first["upload_time"],
        "upload_time_iso_8601": first["upload_time_iso_8601"],
        "yanked": False,
        "requires_python": ">=3.8",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", first["upload_time"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z", first["upload_time_iso_8601"])
    assert first["upload_time_iso_8601"].startswith(first["upload_time"])
    assert (second["filename"], second["packagetype"]) == (sdist.name, "sdist")
    assert "requires_python" not in second


def test_the_urls_lead_to_the_files(index: IndexClient, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1!1.0+cpu.1")
    index.published(wheel, "my-pkg", "1!1.0+cpu.1")

    (file,) = _document(index)["urls"]

    answer = index.session.get(file["url"], auth=index.auth, allow_redirects=False)
    assert answer.content == wheel.read_bytes()


def test_the_urls_lead_to_the_files_of_a_repository_that_kept_its_dots(
    simple: IndexClient, docker_open: RunningRegistry, namespace: str, http: requests.Session
) -> None:
    oci = OCIClient(docker_open, f"{namespace}/zope.interface", http)
    push_original(oci, "1.0", {".tar.gz": b"bytes"})

    (file,) = _document(simple, "zope.interface")["urls"]

    assert simple.session.get(file["url"]).content == b"bytes"


def test_the_public_address_stands_in_the_urls(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    settings = {"PYOCI_STORAGE": str(tmp_path), "PYOCI_URL": "https://packages.example/py"}
    index = IndexClient(f"{app_server(settings)}/simple", None, http)
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    (file,) = _document(index)["urls"]
    assert file["url"] == ("https://packages.example/py/simple/my-pkg/my_pkg-1.0-py3-none-any.whl")


def test_what_a_trusted_proxy_says_of_the_address_stands_in_the_urls(
    index: IndexClient, tmp_path: Path
) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    outside = {"X-Forwarded-Host": "packages.example", "X-Forwarded-Prefix": "/py"}

    (file,) = index.get("/my-pkg/json", headers=outside).json()["urls"]

    assert file["url"].startswith("http://packages.example/py/")
    assert file["url"].endswith("/my-pkg/my_pkg-1.0-py3-none-any.whl")


def test_a_host_that_no_url_can_hold_is_refused(
    app_server: AppServer, docker_open: RunningRegistry, namespace: str, tmp_path: Path
) -> None:
    with requests.Session() as session:
        base = f"{app_server()}/{docker_open.address}/{namespace}"
        index = IndexClient(base, None, session)
        index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

        answer = index.get("/my-pkg/json", headers={"Host": "<b>"})

    assert (answer.status_code, "Host" in answer.text) == (400, True)


def test_what_is_not_known_is_left_out_rather_than_null(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    document = _document(index)

    assert not _nulls(document)
    assert document["info"] == {"name": "my-pkg", "version": "1.0"}


def test_the_originals_package_is_described_by_what_it_has(
    simple: IndexClient, oci: OCIClient
) -> None:
    push_original(oci, "1.0", {"py3-none-any.whl": b"bytes"})

    document = _document(simple)

    assert not _nulls(document)
    assert document["info"] == {
        "name": "my-pkg",
        "version": "1.0",
        "home_page": "https://example.org/",
        "project_urls": {"Home": "https://example.org/"},
    } or document["info"] == {
        "name": "my-pkg",
        "version": "1.0",
        "project_urls": {"Home": "https://example.org/"},
    }
    (file,) = document["urls"]
    assert set(file) == {
        "filename",
        "packagetype",
        "url",
        "digests",
        "yanked",
        "upload_time",
        "upload_time_iso_8601",
    }
    assert file["upload_time"] == "2024-05-06T07:08:09"


def test_every_version_is_named_and_the_listed_ones_have_their_files(
    simple: IndexClient,
    app_server: AppServer,
    docker_open: RunningRegistry,
    namespace: str,
    tmp_path: Path,
) -> None:
    versions = ["1.0", "1.9", "1.10", "2.0.dev1"]
    for version in versions:
        simple.published(make_wheel(tmp_path, "my_pkg", version), "my-pkg", version)
    root = app_server({"PYOCI_MAX_VERSIONS": "2"})

    document = _document(replace(simple, base=f"{root}/{docker_open.address}/{namespace}"))

    releases = document["releases"]
    assert list(releases) == ["2.0.dev1", "1.10", "1.9", "1.0"]
    assert [len(files) for files in releases.values()] == [1, 1, 0, 0]
    assert document["info"]["version"] == "1.10"
    assert document["urls"] == releases["1.10"]
    assert all(len(files) == 1 for files in _document(simple)["releases"].values())


def test_yanks_are_listed_with_their_reason(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    index.published(make_wheel(tmp_path, "my_pkg", "2.0"), "my-pkg", "2.0")
    index.request("PATCH", "/my-pkg/1.0", json={"yanked": "bad"})
    index.request("PATCH", "/my-pkg/2.0", json={"yanked": True})

    releases = _document(index)["releases"]
    assert (releases["1.0"][0]["yanked"], releases["1.0"][0]["yanked_reason"]) == (True, "bad")
    assert releases["2.0"][0]["yanked"] is True
    assert "yanked_reason" not in releases["2.0"][0]


def test_a_document_is_there_although_the_stored_metadata_is_gone(
    app_server: AppServer,
    http: requests.Session,
    embedded_socket: RunningRegistry,
    namespace: str,
    tmp_path: Path,
) -> None:
    """The index of the version has the summary: nothing else is read."""
    root = app_server()
    index = IndexClient(f"{root}/{embedded_socket.address}/{namespace}", embedded_socket.auth, http)
    index.published(make_wheel(tmp_path, "my_pkg", "1.0", summary="Kept"), "my-pkg", "1.0")
    oci = OCIClient(embedded_socket, f"{namespace}/my_pkg", http)
    notes = oci.document("1.0")["manifests"][0]["annotations"]
    digest = f"sha256:{notes['com.pyoci.core_metadata_sha256']}"
    assert oci.request("DELETE", f"blobs/{digest}").ok

    document = _document(index)

    assert document["info"]["summary"] == "Kept"
    assert len(document["urls"]) == 1


def test_the_summary_and_the_home_page_stand_in_the_index_of_the_version(
    simple: IndexClient, oci: OCIClient, tmp_path: Path
) -> None:
    about = {"com.pyoci.summary": "Says hello", "com.pyoci.home_page": "https://example.org/"}
    fields = ("Summary", "Says\n  hello"), ("Home-page", "https://example.org/")
    wheel = make_described_wheel(tmp_path, "my_pkg", "1.0", *fields)
    simple.published(wheel, "my-pkg", "1.0")
    assert about.items() <= oci.document("1.0")["annotations"].items()

    # A file without these fields leaves them unchanged.
    simple.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    assert about.items() <= oci.document("1.0")["annotations"].items()

    info = _document(simple)["info"]
    assert (info["summary"], info["home_page"]) == ("Says hello", "https://example.org/")


def test_the_summary_is_that_of_the_file_that_came_last(
    simple: IndexClient, oci: OCIClient, tmp_path: Path
) -> None:
    simple.published(make_sdist(tmp_path, "my_pkg", "1.0", summary="old"), "my-pkg", "1.0")
    simple.published(make_wheel(tmp_path, "my_pkg", "1.0", summary="new"), "my-pkg", "1.0")
    assert _document(simple)["info"]["summary"] == "new"

    # As registries that can only empty a version leave it.
    oci.push(oci.document("1.0") | {"manifests": []}, "1.0")
    simple.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    assert "com.pyoci.summary" not in oci.document("1.0")["annotations"]


def test_what_was_published_before_the_index_had_a_summary_goes_without(
    simple: IndexClient, oci: OCIClient, tmp_path: Path
) -> None:
    simple.published(make_wheel(tmp_path, "my_pkg", "1.0", summary="Known"), "my-pkg", "1.0")
    index = oci.document("1.0")
    del index["annotations"]["com.pyoci.summary"]
    oci.push(index, "1.0")
    simple.published(make_wheel(tmp_path, "my_pkg", "0.9"), "my-pkg", "0.9")

    assert _document(simple)["info"] == {"name": "my-pkg", "version": "1.0"}


def test_an_emptied_project_has_no_releases(simple: IndexClient, tmp_path: Path) -> None:
    simple.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    assert simple.request("DELETE", "/my-pkg/1.0").ok

    assert _document(simple) == {"info": {"name": "my-pkg"}, "releases": {}, "urls": []}


def test_an_unknown_project_is_missing(simple: IndexClient) -> None:
    assert simple.get("/my-pkg/json").status_code == 404


@pytest.mark.parametrize("prefix", ["", "/below"])
def test_json_is_served_next_to_the_index_as_on_pypi(
    app_server: AppServer, tmp_path: Path, http: requests.Session, prefix: str
) -> None:
    settings = {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_MAX_VERSIONS": "1"}
    root = app_server({**settings, "PYOCI_PATH": prefix}) + prefix
    simple, pypi = (IndexClient(f"{root}/{name}", None, http) for name in ("simple", "pypi"))
    for version in ("1.0", "1.1"):
        simple.published(make_wheel(tmp_path, "my_pkg", version), "my-pkg", version)

    assert _document(pypi) == _document(simple)
    head, whole = (pypi.request(method, "/my-pkg/json") for method in ("HEAD", "GET"))
    assert (head.status_code, head.headers["ETag"]) == (200, whole.headers["ETag"])
    for version in ("1.1", "1.0", "1.0.0"):
        document = pypi.get(f"/my-pkg/{version}/json").json()
        assert "releases" not in document
        assert document["info"]["version"] == {"1.1": "1.1"}.get(version, "1.0")
        [file] = document["urls"]
        assert http.get(file["url"]).status_code == 200
    for path in ("my-pkg/2.0/json", "my-pkg/x/json", "other/json", "my-pkg/", "", "my-pkg/1.1/"):
        missing = pypi.get(f"/{path}")
        assert (missing.status_code, missing.headers["Cache-Control"]) == (404, "no-store"), path
    assert pypi.request("POST", "/").status_code == 404
    assert pypi.request("DELETE", "/my-pkg/1.0").status_code == 404


def test_json_of_an_index_that_is_not_there_names_the_setting(
    app_server: AppServer, http: requests.Session
) -> None:
    missing = http.get(f"{app_server()}/pypi/my-pkg/json")
    assert missing.status_code == 404
    assert "PYOCI_INDEX" in missing.text


def test_info_names_the_version_that_the_page_for_people_shows(
    app_server: AppServer, tmp_path: Path, http: requests.Session
) -> None:
    settings = {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_MAX_VERSIONS": "4"}
    root = app_server(settings)
    index = IndexClient(f"{root}/simple", None, http)
    for version in ("0.9", "1.0", "1.1", *(f"1.2.dev{number}" for number in range(1, 7))):
        index.published(make_wheel(tmp_path, "hello", version), "hello", version)
    assert index.request("PATCH", "/hello/1.1", json={"yanked": "broken"}).ok

    document = _document(index, "hello")
    people = http.get(f"{root}/ui/simple/hello/").text
    simple = index.get("/hello/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}).json()

    assert document["info"]["version"] == "1.0"
    assert document["urls"] == document["releases"]["1.0"]
    assert '<span class="version">1.0</span>' in people
    versions = http.get(f"{root}/ui/simple/hello/versions/").text
    assert "Installers see 2 of 3 final releases and 2 of 6 pre-releases." in versions
    assert [file["filename"].split("-")[1] for file in simple["files"]] == [
        *("1.2.dev6", "1.2.dev5", "1.1", "1.0")
    ]
    assert simple["_listed-versions"] == {"final-releases": [2, 3], "pre-releases": [2, 6]}
