"""The project page in the Simple API's forms (PEP 503, 592, 658, 691, 700, 714)."""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.index_client import IndexClient, links
from tests.integration.oci_client import (
    ARTIFACT,
    CREATED,
    EMPTY,
    MANIFEST,
    TITLE,
    OCIClient,
    image_index,
    push_original,
    sha256,
)
from tests.packages import make_sdist, make_wheel

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
LATEST = "application/vnd.pypi.simple.latest"
PLAIN = "text/html"
CONTENT_TYPES = {JSON: JSON, HTML: f"{HTML}; charset=utf-8", PLAIN: f"{PLAIN}; charset=utf-8"}

PIP = f"{JSON}, {HTML}; q=0.1, {PLAIN}; q=0.01"
UV = f"{JSON}, {HTML};q=0.2, {PLAIN};q=0.01"
POETRY = f"{JSON}, */*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HOSTILE = """>=3.8"><script>alert('1')</script> & <b a="x"""


@pytest.fixture
def simple(
    shared_app: str, embedded_socket: Any, namespace: str, http: requests.Session
) -> IndexClient:
    """The index over one registry: the forms of the page do not depend on which."""
    return IndexClient(
        f"{shared_app}/{embedded_socket.address}/{namespace}", embedded_socket.auth, http
    )


@pytest.fixture
def oci(embedded_socket: Any, namespace: str, http: requests.Session) -> OCIClient:
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
    """The JSON page, which must be there."""
    response = index.get(f"/{project}/", headers={"Accept": JSON})
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param(PIP, JSON, id="pip-pdm-renovate"),
        pytest.param(UV, JSON, id="uv"),
        pytest.param(POETRY, JSON, id="poetry"),
        pytest.param("*/*", PLAIN, id="hatch"),
        pytest.param(None, PLAIN, id="no-header"),
        pytest.param("", PLAIN, id="empty-header"),
        pytest.param(BROWSER, PLAIN, id="browser"),
        pytest.param(JSON, JSON, id="json"),
        pytest.param(HTML, HTML, id="v1-html"),
        pytest.param("text/html", PLAIN, id="html"),
        pytest.param("text/*", PLAIN, id="text-range"),
        pytest.param(f"{LATEST}+json", JSON, id="latest-json"),
        pytest.param(f"{LATEST}+html", HTML, id="latest-html"),
        pytest.param(f"{JSON};q=0.1, {HTML};q=0.9", HTML, id="quality-html"),
        pytest.param(f"{PLAIN};q=0.3, {LATEST}+json;q=0.4", JSON, id="quality-latest"),
        pytest.param(f"{PLAIN};q=0, {HTML}", HTML, id="refused-html"),
        pytest.param(JSON.upper(), JSON, id="any-case"),
    ],
)
def test_the_form_that_is_asked_for_comes_with_its_exact_content_type(
    project: IndexClient, accept: str | None, expected: str
) -> None:
    response = project.get("/my-pkg/", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == CONTENT_TYPES[expected]
    assert "name" in response.json() if expected == JSON else response.text.startswith("<!DOCTYPE")


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "image/png",
        f"{JSON};q=0",
        "application/vnd.pypi.simple.v2+json",
        "*/*;q=0",
    ],
)
def test_a_client_that_takes_none_of_the_forms_is_told_which_there_are(
    project: IndexClient, accept: str
) -> None:
    response = project.get("/my-pkg/", headers={"Accept": accept})

    assert response.status_code == 406
    assert all(name in response.text for name in (JSON, HTML, PLAIN))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"?format={JSON}", JSON),  # its + arrives as a space
        (f"?format={JSON.replace('+', '%2B')}", JSON),
        (f"?format={HTML}", HTML),
        ("?format=text/html", PLAIN),
        ("?format=text%2Fhtml", PLAIN),
        (f"?format={LATEST}+json", JSON),
        (f"?format={LATEST}%2Bhtml", HTML),
    ],
)
@pytest.mark.parametrize("accept", [PIP, "*/*", "image/png"])
def test_the_format_in_the_query_wins_over_the_header(
    project: IndexClient, query: str, expected: str, accept: str
) -> None:
    response = project.get(f"/my-pkg/{query}", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == CONTENT_TYPES[expected]


def test_an_unknown_format_in_the_query_is_not_acceptable(project: IndexClient) -> None:
    response = project.get("/my-pkg/?format=application/json", headers={"Accept": "*/*"})

    assert response.status_code == 406
    assert "?format=" in response.text


def test_the_format_survives_the_redirect_to_the_slash(project: IndexClient) -> None:
    response = project.get(f"/my-pkg?format={JSON}", allow_redirects=True)

    assert response.headers["Content-Type"] == JSON
    assert len(response.history) == 1


@pytest.mark.parametrize("accept", [PIP, "text/html", HTML])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_form_varies_by_what_it_depends_on(
    project: IndexClient, accept: str, method: str
) -> None:
    response = project.request(method, "/my-pkg/", headers={"Accept": accept})

    assert response.headers["Vary"] == "Accept, Authorization"
    assert response.headers["Cache-Control"] == "private, no-cache"


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
    # uv's --exclude-newer reads it whatever version is claimed.
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
    """What PEP 503, 592 and 714 make of a file of the JSON."""
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


def _push_with_annotations(
    oci: OCIClient, content: bytes, annotations: dict[str, str], tag: str = "1.0"
) -> None:
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": oci.push_blob(EMPTY, b"{}"),
        "layers": [oci.push_blob(ARTIFACT, content)],
    }
    platform = {"architecture": "py3-none-any.whl", "os": "any"}
    entry = oci.push(manifest, platform=platform, annotations=annotations)
    oci.push(image_index([entry]), tag)


def test_what_anybody_wrote_into_the_registry_is_escaped_in_html_and_exact_in_json(
    simple: IndexClient, oci: OCIClient
) -> None:
    notes = {"com.pyoci.requires_python": HOSTILE, "com.pyoci.yanked": HOSTILE}
    _push_with_annotations(oci, b"bytes", notes)

    text = simple.get("/my-pkg/", headers={"Accept": PLAIN}).text
    (link,) = links(text)

    assert "<script" not in text
    assert link.attributes["data-requires-python"] == HOSTILE
    assert link.attributes["data-yanked"] == HOSTILE
    assert html.escape("<script>") in text
    (file,) = document(simple)["files"]
    assert (file["requires-python"], file["yanked"]) == (HOSTILE, HOSTILE)


@pytest.mark.parametrize(
    "title",
    [
        '"><script>alert(1)</script>-1.0-py3-none-any.whl',
        "../../other/my_pkg-1.0-py3-none-any.whl",
        "https://evil.example/my_pkg-1.0-py3-none-any.whl",
        "other-1.0-py3-none-any.whl",
        "my_pkg-9.9-py3-none-any.whl",
        "my_pkg-1.0.tar.gz",
    ],
)
def test_a_title_that_is_not_of_this_file_is_not_believed(
    simple: IndexClient, oci: OCIClient, title: str
) -> None:
    _push_with_annotations(oci, b"bytes", {TITLE: title})

    (link,) = simple.page("my-pkg")

    assert (link.href, link.text) == ("my_pkg-1.0-py3-none-any.whl",) * 2
    assert simple.follow("my-pkg", link).content == b"bytes"


@pytest.mark.parametrize(
    ("annotation", "value", "member"),
    [
        ("com.pyoci.size", "many", "size"),
        ("com.pyoci.size", "-1", "size"),
        ("com.pyoci.size", "9" * 40, "size"),
        (CREATED, "yesterday", "upload-time"),
        ("com.pyoci.sha256_digest", "no digest", "hashes"),
    ],
)
def test_an_annotation_that_makes_no_sense_is_as_good_as_none(
    simple: IndexClient, oci: OCIClient, annotation: str, value: str, member: str
) -> None:
    _push_with_annotations(oci, b"bytes", {annotation: value})

    (file,) = document(simple)["files"]
    assert not file.get(member)


def test_a_tag_that_is_no_version_is_in_neither_list(project: IndexClient, oci: OCIClient) -> None:
    _push_with_annotations(oci, b"bytes", {}, tag="latest")

    page = document(project)
    assert page["versions"] == ["1.10", "1.0"]
    assert len(page["files"]) == 3


def test_versions_beyond_the_listed_ones_are_still_named(
    app_server: Any, simple: IndexClient, namespace: str, embedded_socket: Any, tmp_path: Path
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
