"""Publish, list, download and delete with plain HTTP requests, with every kind of registry."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

WHEEL = "my_pkg-1.0-py3-none-any.whl"
SDIST = "my_pkg-1.0.tar.gz"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path, "My_Pkg", "1.0", size=300_000).rename(tmp_path / WHEEL)


@pytest.fixture
def sdist(tmp_path: Path) -> Path:
    return make_sdist(tmp_path, "My_Pkg", "1.0").rename(tmp_path / SDIST)


@pytest.mark.parametrize("slash", [True, False], ids=["with-slash", "without-slash"])
def test_an_upload_is_accepted_with_and_without_the_trailing_slash(
    index: IndexClient, wheel: Path, *, slash: bool
) -> None:
    response = index.publish(wheel, "My_Pkg", "1.0", slash=slash)

    assert response.status_code == 200, response.text
    assert index.filenames("my-pkg") == [WHEEL]


def test_a_published_file_is_listed_by_a_relative_link_with_its_sha256(
    index: IndexClient, wheel: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    (link,) = index.page("my-pkg")
    assert link.text == WHEEL
    assert link.href == f"{WHEEL}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("spelling", ["my-pkg", "My_Pkg", "my.pkg", "MY--PKG"])
def test_a_project_is_found_under_every_spelling_of_its_name(
    index: IndexClient, wheel: Path, spelling: str
) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    assert index.filenames(spelling) == [WHEEL]


def test_a_download_gives_the_bytes_that_were_published(index: IndexClient, wheel: Path) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    (link,) = index.page("my-pkg")
    response = index.follow("my-pkg", link)

    assert response.status_code == 200
    assert response.content == wheel.read_bytes()
    assert response.headers["Content-Length"] == str(wheel.stat().st_size)
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Encoding" not in response.headers


def test_head_answers_as_get_does_without_a_body(index: IndexClient, wheel: Path) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    got = index.get(f"/my-pkg/{WHEEL}")
    head = index.request("HEAD", f"/my-pkg/{WHEEL}")

    assert head.status_code == got.status_code == 200
    assert head.content == b""
    for name in ("Content-Length", "Content-Type", "ETag", "Accept-Ranges", "Cache-Control"):
        assert head.headers[name] == got.headers[name]


def test_a_range_of_a_file_can_be_asked_for(index: IndexClient, wheel: Path) -> None:
    index.published(wheel, "My_Pkg", "1.0")
    content = wheel.read_bytes()

    etag = index.request("HEAD", f"/my-pkg/{WHEEL}").headers["ETag"]
    headers = {"Range": "bytes=1000-2999", "If-Range": etag}
    part = index.get(f"/my-pkg/{WHEEL}", headers=headers)
    stale = index.get(f"/my-pkg/{WHEEL}", headers=headers | {"If-Range": '"another"'})

    assert part.status_code == 206
    assert part.content == content[1000:3000]
    assert part.headers["Content-Range"] == f"bytes 1000-2999/{len(content)}"
    assert stale.status_code == 200
    assert stale.content == content


def test_a_file_that_the_client_has_is_not_sent_again(index: IndexClient, wheel: Path) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    etag = index.request("HEAD", f"/my-pkg/{WHEEL}").headers["ETag"]
    response = index.get(f"/my-pkg/{WHEEL}", headers={"If-None-Match": etag})

    assert response.status_code == 304
    assert response.content == b""


def test_pages_and_files_may_only_be_cached_by_the_client_and_after_asking(
    index: IndexClient, wheel: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    for path in ("/my-pkg/", f"/my-pkg/{WHEEL}"):
        response = index.get(path)
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["ETag"].startswith('"')
        assert (
            index.get(path, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
        )


def test_sdist_and_wheel_of_one_version_stand_side_by_side(
    index: IndexClient, wheel: Path, sdist: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")
    index.published(sdist, "My_Pkg", "1.0")

    assert sorted(index.filenames("my-pkg")) == [WHEEL, SDIST]
    for link in index.page("my-pkg"):
        expected = wheel if link.text == WHEEL else sdist
        assert index.follow("my-pkg", link).content == expected.read_bytes()


def test_a_second_upload_of_a_file_is_refused(index: IndexClient, wheel: Path) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    response = index.publish(wheel, "My_Pkg", "1.0")

    assert response.status_code == 409
    assert "already exists" in response.text
    assert "Put ?existing=skip at the end of the publish address" in response.text
    assert index.filenames("my-pkg") == [WHEEL]


def test_other_bytes_under_the_name_of_a_published_file_are_refused(
    index: IndexClient, wheel: Path, tmp_path: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")
    (tmp_path / "other").mkdir()
    other = make_wheel(tmp_path / "other", "my_pkg", "1.0", summary="changed")

    response = index.publish(other, "My_Pkg", "1.0")

    assert response.status_code == 409
    assert "already exists" in response.text
    assert index.get(f"/my-pkg/{WHEEL}").content == wheel.read_bytes()


def test_files_of_one_version_that_are_uploaded_in_parallel_are_all_kept(
    index: IndexClient, tmp_path: Path
) -> None:
    wheels = [
        make_wheel(tmp_path, "my_pkg", "1.0", tag=f"cp3{minor}-cp3{minor}-linux_x86_64")
        for minor in range(8, 16)
    ]

    def publish(wheel: Path) -> str:
        with requests.Session() as session:
            session.trust_env = False
            client = IndexClient(index.base, index.auth, session)
            return client.publish(wheel, "my-pkg", "1.0").text

    with ThreadPoolExecutor(len(wheels)) as pool:
        answers = list(pool.map(publish, wheels))

    assert answers == [f"published {wheel.name}\n" for wheel in wheels]
    assert sorted(index.filenames("my-pkg")) == sorted(wheel.name for wheel in wheels)


def test_deleting_a_file_leaves_the_other_files_of_its_version(
    index: IndexClient, registry: RunningRegistry, wheel: Path, sdist: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")
    index.published(sdist, "My_Pkg", "1.0")

    deleted = index.request("DELETE", f"/my-pkg/{WHEEL}")

    assert deleted.status_code == 200, deleted.text
    assert ("keeps the bytes" in deleted.text) is not registry.can_delete
    assert index.filenames("my-pkg") == [SDIST]
    assert index.get(f"/my-pkg/{WHEEL}").status_code == 404
    assert index.get(f"/my-pkg/{SDIST}").content == sdist.read_bytes()


def test_deleting_the_last_file_takes_it_from_the_page(
    index: IndexClient, registry: RunningRegistry, wheel: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    deleted = index.request("DELETE", f"/my-pkg/{WHEEL}")

    assert deleted.status_code == 200, deleted.text
    assert ("keeps the bytes" in deleted.text) is not registry.can_delete
    assert index.filenames("my-pkg") == []
    assert index.get(f"/my-pkg/{WHEEL}").status_code == 404
    assert index.request("HEAD", f"/my-pkg/{WHEEL}").status_code == 404
    assert index.request("DELETE", f"/my-pkg/{WHEEL}").status_code == 404


def test_a_deleted_file_can_be_published_again(
    index: IndexClient, wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")
    index.published(sdist, "My_Pkg", "1.0")
    (tmp_path / "new").mkdir()
    new = make_wheel(tmp_path / "new", "my_pkg", "1.0", summary="built again")

    assert index.request("DELETE", f"/my-pkg/{WHEEL}").ok
    index.published(new, "My_Pkg", "1.0")

    assert sorted(index.filenames("my-pkg")) == [WHEEL, SDIST]
    assert index.get(f"/my-pkg/{WHEEL}").content == new.read_bytes()
    assert index.get(f"/my-pkg/{SDIST}").content == sdist.read_bytes()


def test_a_file_published_again_after_its_version_was_emptied_is_whole(
    index: IndexClient, wheel: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")

    assert index.request("DELETE", f"/my-pkg/{WHEEL}").ok
    index.published(wheel, "My_Pkg", "1.0")

    assert index.get(f"/my-pkg/{WHEEL}").content == wheel.read_bytes()


def test_deleting_a_version_takes_all_its_files_and_no_others(
    index: IndexClient, registry: RunningRegistry, wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    index.published(wheel, "My_Pkg", "1.0")
    index.published(sdist, "My_Pkg", "1.0")
    other = index.published(make_sdist(tmp_path, "my_pkg", "1.0.post1"), "My_Pkg", "1.0.post1")

    deleted = index.request("DELETE", "/my-pkg/1.0")

    assert deleted.status_code == 200, deleted.text
    assert ("keeps the bytes" in deleted.text) is not registry.can_delete
    assert index.filenames("my-pkg") == [other.name]
    assert index.get(f"/my-pkg/{SDIST}").status_code == 404
    assert index.get(f"/my-pkg/{other.name}").content == other.read_bytes()
    assert index.request("DELETE", "/my-pkg/1.0").status_code == 404
    assert index.request("DELETE", "/my-pkg/9.9").status_code == 404


def test_a_deleted_version_leaves_no_manifest_in_a_registry_that_deletes(
    index: IndexClient,
    registry: RunningRegistry,
    repository: Callable[[str], OCIClient],
    wheel: Path,
) -> None:
    index.published(wheel, "My_Pkg", "1.0")
    oci = repository("my_pkg")
    (entry,) = oci.document("1.0")["manifests"]

    assert index.request("DELETE", "/my-pkg/1.0").ok

    if registry.can_delete:
        assert oci.tags() == []
        assert oci.manifest(entry["digest"]).status_code == 404
    else:
        assert oci.document("1.0")["manifests"] == []
        assert oci.manifest(entry["digest"]).status_code == 200
