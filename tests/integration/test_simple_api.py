"""The project page in the Simple API's forms (PEP 503, 592, 658, 691, 700, 714)."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import AppServer
from tests.integration.index_client import IndexClient, links
from tests.integration.oci_client import (
    OCIClient,
    push_original,
    sha256,
)
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PLAIN = "text/html"


@pytest.fixture
def simple(
    shared_app: str, embedded_socket: RunningRegistry, namespace: str, http: requests.Session
) -> IndexClient:
    """The index for one registry: the forms of the page do not depend on which."""
    return IndexClient(
        f"{shared_app}/{embedded_socket.address}/{namespace}", embedded_socket.auth, http
    )


@pytest.fixture
def oci(embedded_socket: RunningRegistry, namespace: str, http: requests.Session) -> OCIClient:
    return OCIClient(embedded_socket, f"{namespace}/my_pkg", http)


@pytest.fixture
def project(simple: IndexClient, tmp_path: Path) -> IndexClient:
    """Two versions, three files."""
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", requires_python=">=3.8,<4")
    simple.published(wheel, "my-pkg", "1.0", ("requires_python", ">=3.8,<4"))
    simple.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    simple.published(make_wheel(tmp_path, "my_pkg", "1.10"), "my-pkg", "1.10")
    return simple


def document(index: IndexClient, project: str = "my-pkg") -> dict[str, Any]:
    """Return the JSON page, which must exist."""
    response = index.get(f"/{project}/", headers={"Accept": JSON})
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def test_the_json_has_every_member_of_version_1_4(project: IndexClient, tmp_path: Path) -> None:
    page = document(project)
    wheel = tmp_path / "my_pkg-1.0-py3-none-any.whl"

    assert page["meta"] == {"api-version": "1.4"}
    assert page["name"] == "my-pkg"
    assert page["versions"] == ["1.10", "1.0"]
    assert [file["filename"] for file in page["files"]] == [
        "my_pkg-1.10-py3-none-any.whl",
        "my_pkg-1.0-py3-none-any.whl",
        "my_pkg-1.0.tar.gz",
    ]
    file = page["files"][1]
    metadata = file["core-metadata"]
    assert file == {
        "filename": wheel.name,
        "url": wheel.name,
        "hashes": {"sha256": sha256(wheel.read_bytes())},
        "size": wheel.stat().st_size,
        "upload-time": file["upload-time"],
        "requires-python": ">=3.8,<4",
        "yanked": False,
        "core-metadata": metadata,
        "dist-info-metadata": metadata,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", file["upload-time"])
    assert set(metadata) == {"sha256"}


@pytest.mark.parametrize(
    ("agent", "alias"),
    [
        ('pip/22.2.2 {"cpu":"x86_64"}', True),
        ('pip/22.3 {"cpu":"x86_64"}', False),
        ("pip/22.3.1", False),
        ("pip/23.0.1", False),
        ('pip/23.1.2 {"ci":null}', False),
        ("pip/23.2", True),
        ("pip/23.10", True),
        ("pip/25.1.1", True),
        ("uv/0.9.0 pip/23.0.1", True),
    ],
)
def test_pips_that_crash_on_the_older_name_of_metadata_get_the_newer_one_only(
    project: IndexClient, agent: str, alias: bool
) -> None:
    """pip's issue 12042; requested twice, so that no page of the other kind is cached."""
    for asked in (agent, "another/1.0", agent):
        response = project.get("/my-pkg/", headers={"Accept": JSON, "User-Agent": asked})
        for file in response.json()["files"][:2]:
            assert "core-metadata" in file
            assert ("dist-info-metadata" in file) is (alias or asked != agent)


def test_the_two_forms_of_the_json_have_an_etag_each(project: IndexClient) -> None:
    old, new = (
        project.get("/my-pkg/", headers={"Accept": JSON, "User-Agent": agent})
        for agent in ("pip/23.0.1", "pip/25.0")
    )
    assert old.headers["ETag"] != new.headers["ETag"]
    known = {"Accept": JSON, "User-Agent": "pip/25.0", "If-None-Match": old.headers["ETag"]}
    assert project.get("/my-pkg/", headers=known).status_code == 200


def test_an_sdist_announces_no_metadata(project: IndexClient) -> None:
    sdist = document(project)["files"][2]

    assert "core-metadata" not in sdist
    assert "dist-info-metadata" not in sdist


def test_the_page_of_the_originals_package_claims_1_0_as_sizes_are_unknown(
    simple: IndexClient, oci: OCIClient, tmp_path: Path
) -> None:
    content = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
    push_original(oci, "1.0", {"py3-none-any.whl": content})

    page = document(simple)

    assert page["meta"] == {"api-version": "1.0"}
    (file,) = page["files"]
    assert "size" not in file
    assert file["hashes"] == {"sha256": sha256(content)}
    # uv's --exclude-newer reads it, whatever version the page claims.
    assert file["upload-time"] == "2024-05-06T07:08:09.123456Z"
    text = simple.get("/my-pkg/", headers={"Accept": PLAIN}).text
    assert '<meta name="pypi:repository-version" content="1.0">' in text


def test_the_page_claims_1_4_again_when_the_last_file_of_unknown_size_is_gone(
    simple: IndexClient, oci: OCIClient, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    push_original(oci, "1.0", {"py3-none-any.whl": wheel.read_bytes()})
    simple.published(make_wheel(tmp_path, "my_pkg", "2.0"), "my-pkg", "2.0")
    assert document(simple)["meta"] == {"api-version": "1.0"}

    assert simple.request("DELETE", "/my-pkg/1.0").ok

    assert document(simple)["meta"] == {"api-version": "1.4"}


def test_a_file_without_a_known_digest_has_no_hashes(
    simple: IndexClient, oci: OCIClient, tmp_path: Path
) -> None:
    content = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
    push_original(oci, "1.0", {"py3-none-any.whl": content}, digest_annotation=False)

    (file,) = document(simple)["files"]
    assert file["hashes"] == {}


def _attributes(file: dict[str, Any]) -> dict[str, str | None]:
    """Return what PEP 503, 592 and 714 make of a file in the JSON."""
    sha = file["hashes"].get("sha256")
    expected: dict[str, str | None] = {"href": file["url"] + (f"#sha256={sha}" if sha else "")}
    if "requires-python" in file:
        expected["data-requires-python"] = file["requires-python"]
    if file["yanked"] is not False:
        expected["data-yanked"] = "" if file["yanked"] is True else file["yanked"]
    if "core-metadata" in file:
        known = file["core-metadata"]
        value = "true" if known is True else f"sha256={known['sha256']}"
        expected["data-core-metadata"] = expected["data-dist-info-metadata"] = value
    return expected


def test_the_html_says_the_same_as_the_json(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", requires_python=">=3.8")
    index.published(wheel, "my-pkg", "1.0")
    index.published(make_wheel(tmp_path, "my_pkg", "1!2.0+cpu.1"), "my-pkg", "1!2.0+cpu.1")
    (tmp_path / "original").mkdir()
    content = make_wheel(tmp_path / "original", "my_pkg", "3.0").read_bytes()
    push_original(repository("my_pkg"), "3.0", {"py3-none-any.whl": content})
    assert index.request("PATCH", f"/my-pkg/{wheel.name}", json={"yanked": "bad & <old>"}).ok
    assert index.request("PATCH", "/my-pkg/3.0", json={"yanked": True}).ok

    files = document(index)["files"]
    for accept in (PLAIN, HTML):
        response = index.get("/my-pkg/", headers={"Accept": accept})
        anchors = [(link.text, link.attributes) for link in links(response.text)]
        assert anchors == [(file["filename"], _attributes(file)) for file in files]
    assert len(files) == 4


def test_an_anchor_holds_the_bare_filename_as_hatch_reads_it(project: IndexClient) -> None:
    text = project.get("/my-pkg/", headers={"Accept": "*/*"}).text

    for filename in project.filenames("my-pkg"):
        assert re.search(rf"<a\s[^>]+>{re.escape(filename)}</a>", text)


def test_versions_beyond_the_listed_ones_are_still_named(
    app_server: AppServer,
    simple: IndexClient,
    namespace: str,
    embedded_socket: RunningRegistry,
    tmp_path: Path,
) -> None:
    for version in ("1.0", "1.9", "1.10"):
        simple.published(make_wheel(tmp_path, "my_pkg", version), "my-pkg", version)
    small = app_server({"PYOCI_MAX_VERSIONS": "2"})

    page = document(replace(simple, base=f"{small}/{embedded_socket.address}/{namespace}"))

    assert page["versions"] == ["1.10", "1.9", "1.0"]
    assert [file["filename"].split("-")[1] for file in page["files"]] == ["1.10", "1.9"]


@pytest.mark.parametrize("path", ["/+simple/my-pkg/", "/+simple/My.Pkg/"])
def test_the_page_is_also_below_plus_simple(project: IndexClient, path: str) -> None:
    usual = project.get("/my-pkg/", headers={"Accept": JSON})
    response = project.get(path, headers={"Accept": JSON})

    assert response.json() == usual.json()
    file = project.get(f"{path}my_pkg-1.0-py3-none-any.whl")
    assert file.status_code == 200
    assert project.get(f"{path}my_pkg-1.0-py3-none-any.whl.metadata").status_code == 200
    assert project.get(f"{path}json").json()["info"]["name"] == "my-pkg"


def test_a_project_under_plus_simple_without_its_slash_leads_to_the_one_with_it(
    project: IndexClient,
) -> None:
    response = project.get("/+simple/my-pkg")

    assert response.status_code == 301
    assert response.headers["Location"] == "my-pkg/"
    assert response.headers["Cache-Control"] == "no-store"


def test_an_emptied_project_is_a_page_without_files(project: IndexClient) -> None:
    for version in ("1.0", "1.10"):
        assert project.request("DELETE", f"/my-pkg/{version}").ok

    page = document(project)
    assert (page["files"], page["versions"]) == ([], [])
    assert project.filenames("my-pkg") == []
