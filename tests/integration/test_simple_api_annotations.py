"""Whatever the registry's annotations contain, the page is valid."""

import html
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
)
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
PLAIN = "text/html"
HOSTILE = """>=3.8"><script>alert('1')</script> & <b a="x"""


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
