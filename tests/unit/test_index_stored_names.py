"""The filenames of entries: what is not parsed is what parsing would return."""

import itertools

import pytest

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index import names
from pyoci_flask.index.names import Filename, ProjectName, version_or_none
from pyoci_flask.index.stored_names import StoredNames

PROJECTS = [
    *[("my-pkg", "my_pkg"), ("My.Pkg", "my.pkg"), ("my-pkg", "my-pkg"), ("my-pkg", "other")],
    *[("a-b-c", "a_b.c"), ("foo", "foo"), ("foo", "foo_"), ("x" * 240, "x" * 240)],
]
VERSIONS = [
    *["1.0", "1!2.0", "1.0+cpu", "1.0rc1", "v1.0", "1.0.post.", "1.0_1", "1.0-1", "1.0 ", "1..0"],
    *["latest", "", "1.0+a_b", "1" * 60],
]
ARCHITECTURES = [
    *[".tar.gz", "py3-none-any.whl", "cp311-cp311-linux_x86_64.whl", "1-py3-none-any.whl"],
    *["x-py3-none-any.whl", "py3--any.whl", "py3-none-any..whl", ".whl", ".zip", "", "-.tar.gz"],
    *["a.b-py3-none-any.tar.gz", "py3-none-any.whl\n", "py3-none-" + "a" * 120 + ".whl"],
]


def _parsed(title: str, version: str, architecture: str, project: ProjectName) -> Filename | None:
    """Return the title's parts if it names the entry; every title is parsed."""
    try:
        name = Filename.parse(title, project)
    except InvalidRequestError:
        return None
    return name if name.is_same_version(version) and name.architecture == architecture else None


@pytest.mark.parametrize(("spelling", "segment"), PROJECTS)
def test_a_title_that_is_not_parsed_has_the_parts_that_parsing_finds(
    spelling: str, segment: str
) -> None:
    project = ProjectName(spelling)
    for version, architecture in itertools.product(VERSIONS, ARCHITECTURES):
        title = Filename.build(segment, version, architecture)
        try:
            found = StoredNames(version, project, segment).of(title, architecture)
        except InvalidRequestError:
            assert _parsed(title, version, architecture, project) is None
        else:
            assert found == Filename.parse(title, project)


def test_a_title_of_another_file_is_not_the_name_of_the_entry() -> None:
    stored = StoredNames("1.0", ProjectName("foo"), "foo")
    wheel = "py3-none-any.whl"

    assert stored.of("foo-1.0.0-py3-none-any.whl", wheel).text == "foo-1.0.0-py3-none-any.whl"
    for title in (None, "foo-2.0-py3-none-any.whl", "foo-1.0.tar.gz", "bar-1.0-py3-none-any.whl"):
        assert stored.of(title, wheel).text == "foo-1.0-py3-none-any.whl"


def test_of_many_versions_only_short_ones_are_remembered_and_not_all() -> None:
    names._remembered.cache_clear()
    for number in range(3000):
        assert version_or_none(f"1.{number}") is not None
        assert version_or_none(f"1.{number}.{'1' * 100}") is not None
    assert version_or_none(f"1.{'1' * 300}") is None
    kept = names._remembered.cache_info()
    assert kept.misses == 3000
    assert kept.currsize == 1024
