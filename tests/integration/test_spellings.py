"""One version under several spellings, and one project in several repositories."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.index_client import IndexClient, Link
from tests.integration.oci_client import OCIClient, push_original
from tests.packages import make_sdist, make_wheel

NAME = "hello"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Architecture, as the original names it, to the bytes of the file."""
    sdist = make_sdist(tmp_path, "zope.dotted", "1.0").read_bytes()
    wheel = make_wheel(tmp_path, "zope.dotted", "1.0").read_bytes()
    return {"py3-none-any.whl": wheel, ".tar.gz": sdist}


def yanked_of(link: Link) -> str | None:
    """Return the reason why a file is yanked, which may be empty; None if it is not yanked."""
    return link.attributes.get("data-yanked")


def versions(index: IndexClient, name: str) -> list[str]:
    """Return the versions of the project's legacy JSON."""
    return list(index.get(f"/{name}/json").json()["releases"])


def test_equal_versions_are_one_version(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    sdist = make_sdist(tmp_path, NAME, "1.0")
    wheel = make_wheel(tmp_path, NAME, "1.0.0")
    again = make_sdist(tmp_path, NAME, "1.0.0")

    index.published(sdist, NAME, "1.0")
    index.published(wheel, NAME, "1.0.0")
    refused = index.publish(again, NAME, "1.0.0")

    assert refused.status_code == 409
    assert repository(NAME).tags() == ["1.0"]
    assert versions(index, NAME) == ["1.0"]
    assert sorted(index.filenames(NAME)) == sorted([sdist.name, wheel.name])
    for path in (sdist, wheel):
        assert index.get(f"/{NAME}/{path.name}").content == path.read_bytes()


@pytest.mark.parametrize("spelling", ["1.0", "1", "1.0.0.0", "v1.0"])
def test_a_version_is_yanked_and_deleted_by_any_spelling(
    index: IndexClient, tmp_path: Path, spelling: str
) -> None:
    index.published(make_sdist(tmp_path, NAME, "1.0.0"), NAME, "1.0.0")

    yanked = index.request("PATCH", f"/{NAME}/{spelling}", json={"yanked": "broken"})
    links = index.page(NAME)
    deleted = index.request("DELETE", f"/{NAME}/{spelling}")

    assert (yanked.status_code, deleted.status_code) == (200, 200)
    assert [yanked_of(link) for link in links] == ["broken"]
    assert index.filenames(NAME) == []


def test_a_version_that_two_tags_spell_is_listed_changed_and_deleted_as_one(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    """As the original and older versions of this server left it."""
    sdist = make_sdist(tmp_path, NAME, "1.0").read_bytes()
    wheel = make_wheel(tmp_path, NAME, "1.0.0").read_bytes()
    push_original(repository(NAME), "1.0", {".tar.gz": sdist})
    push_original(repository(NAME), "1.0.0", {"py3-none-any.whl": wheel})
    names = ["hello-1.0.0-py3-none-any.whl", "hello-1.0.tar.gz"]

    assert len(versions(index, NAME)) == 1
    assert sorted(index.filenames(NAME)) == names
    assert index.get(f"/{NAME}/{names[0]}").content == wheel
    assert index.get(f"/{NAME}/{names[1]}").content == sdist
    assert index.publish(make_sdist(tmp_path, NAME, "1.0.0"), NAME, "1.0.0").status_code == 409
    assert index.request("PATCH", f"/{NAME}/1.0", json={"yanked": True}).ok
    assert [yanked_of(link) for link in index.page(NAME)] == ["", ""]
    assert index.request("DELETE", f"/{NAME}/1.0.0").ok
    assert index.filenames(NAME) == []


@pytest.mark.parametrize(
    ("name", "version", "tag"),
    [("Pillow", "3.1.0-rc1", "3.1.0rc1"), ("celery", "3.1.26-1", "3.1.26.post1")],
)
def test_an_sdist_keeps_its_name_where_the_tag_has_the_normalised_version(
    index: IndexClient,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
    name: str,
    version: str,
    tag: str,
) -> None:
    sdist = make_sdist(tmp_path, name, version)
    sdist = sdist.rename(sdist.with_name(f"{name}-{version}.tar.gz"))

    index.published(sdist, name, version)

    assert repository(name.lower()).tags() == [tag]
    assert index.filenames(name) == [sdist.name]
    assert index.get(f"/{name}/{sdist.name}").content == sdist.read_bytes()
    assert index.publish(sdist, name, tag).status_code == 409
    assert index.request("DELETE", f"/{name}/{sdist.name}").ok
    assert index.filenames(name) == []


@pytest.mark.parametrize("spelling", ["zope-dotted", "zope.dotted", "Zope_Dotted"])
def test_a_project_of_the_original_in_a_dotted_repository_has_any_spelling(
    index: IndexClient,
    repository: Callable[[str], OCIClient],
    files: dict[str, bytes],
    tmp_path: Path,
    spelling: str,
) -> None:
    push_original(repository("zope.dotted"), "1.0", files)
    (tmp_path / "new").mkdir()
    other = make_sdist(tmp_path / "new", "zope-dotted", "1.0")
    newer = make_sdist(tmp_path / "new", "zope-dotted", "1.1")
    names = ["zope.dotted-1.0-py3-none-any.whl", "zope.dotted-1.0.tar.gz"]

    assert sorted(index.filenames(spelling)) == names
    assert index.get(f"/{spelling}/{names[1]}").content == files[".tar.gz"]
    assert index.publish(other, "zope-dotted", "1.0").status_code == 409
    index.published(newer, "zope-dotted", "1.1")
    assert sorted(index.filenames(spelling)) == sorted([*names, newer.name])
    assert versions(index, spelling) == ["1.1", "1.0"]
    assert index.request("PATCH", f"/{spelling}/1.0", json={"yanked": True}).ok
    assert (
        sorted(link.text for link in index.page(spelling) if yanked_of(link) is not None) == names
    )
    assert index.request("DELETE", f"/{spelling}/{names[0]}").ok
    assert index.request("DELETE", f"/{spelling}/1.0").ok
    assert index.filenames(spelling) == [newer.name]


def test_a_new_file_of_a_yanked_version_is_yanked(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_sdist(tmp_path, NAME, "1.0"), NAME, "1.0")
    index.published(make_sdist(tmp_path, NAME, "2.0"), NAME, "2.0")
    assert index.request("PATCH", f"/{NAME}/1.0", json={"yanked": "wrong licence"}).ok

    index.published(make_wheel(tmp_path, NAME, "1.0"), NAME, "1.0")

    assert {link.text: yanked_of(link) for link in index.page(NAME)} == {
        "hello-2.0.tar.gz": None,
        "hello-1.0-py3-none-any.whl": "wrong licence",
        "hello-1.0.tar.gz": "wrong licence",
    }


def test_a_new_file_is_not_yanked_where_only_another_file_was(
    index: IndexClient, tmp_path: Path
) -> None:
    sdist, wheel = make_sdist(tmp_path, NAME, "1.0"), make_wheel(tmp_path, NAME, "1.0")
    index.published(sdist, NAME, "1.0")
    index.published(wheel, NAME, "1.0")
    assert index.request("PATCH", f"/{NAME}/{sdist.name}", json={"yanked": True}).ok

    other = make_wheel(tmp_path, NAME, "1.0", tag="cp311-cp311-linux_x86_64")
    index.published(other, NAME, "1.0")

    yanked = [link.text for link in index.page(NAME) if yanked_of(link) is not None]
    assert yanked == [sdist.name]
