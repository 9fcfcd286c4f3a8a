"""Packages that the Rust original published: with its annotations only, and the empty config."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient, push_original, sha256
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

WHEEL = "hello_world-1.0-py3-none-any.whl"
SDIST = "hello_world-1.0.tar.gz"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Architecture, as the original names it, to the bytes of the file."""
    sdist = make_sdist(tmp_path, "hello_world", "1.0").read_bytes()
    wheel = make_wheel(tmp_path, "hello_world", "1.0").read_bytes()
    return {"py3-none-any.whl": wheel, ".tar.gz": sdist}


@pytest.mark.parametrize("digest_annotation", [True, False], ids=["digest", "no-digest"])
def test_its_files_are_listed_and_downloaded(
    index: IndexClient,
    repository: Callable[[str], OCIClient],
    files: dict[str, bytes],
    *,
    digest_annotation: bool,
) -> None:
    push_original(repository("hello_world"), "1.0", files, digest_annotation=digest_annotation)

    page = {link.text: link for link in index.page("hello-world")}

    wheel, sdist = files["py3-none-any.whl"], files[".tar.gz"]
    assert set(page) == {WHEEL, SDIST}
    assert index.follow("hello-world", page[WHEEL]).content == wheel
    assert index.follow("hello-world", page[SDIST]).content == sdist
    hashes = {name: link.href.partition("#sha256=")[2] for name, link in page.items()}
    if digest_annotation:
        assert hashes == {WHEEL: sha256(wheel), SDIST: sha256(sdist)}
    else:
        # A wrong digest would stop the client; without one, it only checks nothing.
        assert set(hashes.values()) == {""}


def test_its_files_have_a_length(
    index: IndexClient, repository: Callable[[str], OCIClient], files: dict[str, bytes]
) -> None:
    push_original(repository("hello_world"), "1.0", files)

    head = index.request("HEAD", f"/hello-world/{WHEEL}")

    assert head.headers["Content-Length"] == str(len(files["py3-none-any.whl"]))


def test_one_of_its_files_is_deleted_and_the_other_entry_kept_as_it_was(
    index: IndexClient, repository: Callable[[str], OCIClient], files: dict[str, bytes]
) -> None:
    oci = repository("hello_world")
    entries = push_original(oci, "1.0", files)

    assert index.request("DELETE", f"/hello-world/{WHEEL}").ok

    assert index.filenames("hello-world") == [SDIST]
    assert oci.document("1.0")["manifests"] == [entries[".tar.gz"]]


def test_one_of_its_versions_is_deleted(
    index: IndexClient,
    registry: RunningRegistry,
    repository: Callable[[str], OCIClient],
    files: dict[str, bytes],
) -> None:
    oci = repository("hello_world")
    push_original(oci, "1.0", files)

    assert index.request("DELETE", "/hello-world/1.0").ok

    assert index.filenames("hello-world") == []
    if registry.can_delete:
        assert oci.tags() == []


def test_a_file_is_published_into_one_of_its_versions(
    index: IndexClient,
    repository: Callable[[str], OCIClient],
    files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    oci = repository("hello_world")
    entries = push_original(oci, "1.0", files)
    (tmp_path / "new").mkdir()
    new = make_wheel(tmp_path / "new", "hello_world", "1.0", tag="cp311-cp311-linux_x86_64")

    index.published(new, "hello-world", "1.0")

    assert sorted(index.filenames("hello-world")) == sorted([WHEEL, SDIST, new.name])
    assert oci.document("1.0")["manifests"][:2] == list(entries.values())


def test_its_second_upload_of_a_file_is_refused(
    index: IndexClient,
    repository: Callable[[str], OCIClient],
    files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    push_original(repository("hello_world"), "1.0", files)

    response = index.publish(tmp_path / WHEEL, "hello-world", "1.0")

    assert response.status_code == 409
    assert "already exists" in response.text


def test_a_local_version_and_a_build_tag_are_rebuilt_from_tag_and_architecture(
    index: IndexClient, repository: Callable[[str], OCIClient]
) -> None:
    files = {"1-cp311-cp311-linux_x86_64.whl": b"a wheel, for all that the index knows"}
    push_original(repository("hello_world"), "1_2.0-cpu.1", files)

    (link,) = index.page("hello-world")

    assert link.text == "hello_world-1!2.0+cpu.1-1-cp311-cp311-linux_x86_64.whl"
    assert index.follow("hello-world", link).content == next(iter(files.values()))


def test_a_repository_whose_name_kept_its_dots_is_found_by_that_spelling(
    index: IndexClient, repository: Callable[[str], OCIClient], files: dict[str, bytes]
) -> None:
    oci = repository("zope.interface")
    push_original(oci, "1.0", files)

    (wheel,) = (name for name in index.filenames("zope.interface") if name.endswith(".whl"))
    downloaded = index.get(f"/zope.interface/{wheel}")

    assert downloaded.content == files["py3-none-any.whl"]
    assert index.request("DELETE", f"/zope.interface/{wheel}").ok
    assert len(index.filenames("zope.interface")) == 1
